"""Parts of the page that run in the browser: no iframe, no build step, nothing from elsewhere."""
