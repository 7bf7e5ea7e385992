"""Components of the page that run in the browser, without iframes, build steps or downloads."""
