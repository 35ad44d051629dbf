"""Sites of our own: what a shop, a demonstration or a test runs because it has no server of its own."""
