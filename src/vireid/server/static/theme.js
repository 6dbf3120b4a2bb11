// Before the first paint: the colours chosen last time, else the system's.
(function () {
  let chosen = null;
  try {
    chosen = localStorage.getItem("vireid-theme");
  } catch (error) {
    chosen = null; // storage is blocked; the system's colours are used
  }
  if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen;
})();
