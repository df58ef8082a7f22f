// Runs before the page is drawn: the theme that was chosen, and a word where modules cannot load.
"use strict";

try {
  const theme = localStorage.getItem("h2q-theme");
  if (theme === "dark" || theme === "light") document.documentElement.dataset.theme = theme;
} catch {
  // Storage may be forbidden; the system's theme is used.
}

if (location.protocol === "file:") {
  addEventListener("DOMContentLoaded", () => {
    const status = document.getElementById("status");
    status.textContent =
      "Browsers do not let a page that is opened as a file read its data. In this folder, run " +
      "python -m http.server, and open http://localhost:8000.";
    status.className = "notice";
  });
}
