// Before the first paint: the reader's choice of colours, if there is one.
try {
  const chosen = localStorage.getItem("cotlens-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // No storage, no choice.
}
