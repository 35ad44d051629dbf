"use strict";
// Two things only: the reader's own time zone and theme. Every page can be read without them.
(() => {
  const root = document.documentElement;
  const themes = ["auto", "light", "dark"];
  let theme = "auto";
  try {
    theme = localStorage.getItem("theme") || "auto";
  } catch {
    // storage is switched off: the theme of the system applies
  }
  const wear = (name) => {
    theme = themes.includes(name) ? name : "auto";
    if (theme === "auto") root.removeAttribute("data-theme");
    else root.setAttribute("data-theme", theme);
  };
  wear(theme);

  const two = (number) => String(number).padStart(2, "0");
  const localTimes = (within) => {
    for (const shown of within.querySelectorAll("time[datetime]:not([data-local])")) {
      const at = new Date(shown.dateTime);
      if (Number.isNaN(at.getTime())) continue;
      const day = `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
      const now = new Date();
      const today = `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
      const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
      shown.textContent = day === today ? clock : `${day} ${clock}`;
      shown.dataset.local = "yes";
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    const button = document.getElementById("theme");
    if (!button) return;
    const name = () => {
      button.textContent = `Theme: ${theme}`;
    };
    button.hidden = false;
    name();
    button.addEventListener("click", () => {
      wear(themes[(themes.indexOf(theme) + 1) % themes.length]);
      try {
        localStorage.setItem("theme", theme);
      } catch {
        // lasts for this page then
      }
      name();
    });
  });
  document.addEventListener("htmx:load", (event) => localTimes(event.detail.elt));
})();
