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
      if (shown.classList.contains("hour")) shown.textContent = clock.slice(0, 5);
      else shown.textContent = day === today ? clock : `${day} ${clock}`;
      shown.dataset.local = "yes";
    }
  };

  // A time that is typed is the reader's own too; what goes into the address stays UTC, so that a link means the same.
  const local = (at) => new Date(at.getTime() - at.getTimezoneOffset() * 60000).toISOString().slice(0, 16);
  const localFields = () => {
    for (const field of document.querySelectorAll("input[data-utc]")) {
      const given = new Date(`${field.value}Z`);
      if (!Number.isNaN(given.getTime())) field.value = local(given);
      field.parentElement.querySelector(".zone").textContent = "(your time)";
      field.form.addEventListener("formdata", (event) => {
        const typed = new Date(field.value);
        if (Number.isNaN(typed.getTime())) event.formData.delete(field.name);
        else event.formData.set(field.name, typed.toISOString().slice(0, 16));
      });
    }
  };

  document.addEventListener("DOMContentLoaded", () => {
    localTimes(document);
    localFields();
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
