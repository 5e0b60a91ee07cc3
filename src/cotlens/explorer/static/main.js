// What every page has: keys, the choice of colours, tables that sort, charts, and the walk through a completion.
import { startCharts, redrawCharts } from "./charts.js";
import { startFilters } from "./filter.js";
import { startTables } from "./tables.js";
import { startWalks } from "./walk.js";

const THEMES = ["system", "light", "dark"];
const NAMES = { system: "as the system has them", light: "light", dark: "dark" };

function theme() {
  return document.documentElement.dataset.theme ?? "system";
}

function setTheme(wanted) {
  if (wanted === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
  try {
    if (wanted === "system") localStorage.removeItem("cotlens-theme");
    else localStorage.setItem("cotlens-theme", wanted);
  } catch {
    // The choice lasts for this page.
  }
  nameTheme();
  redrawCharts();
}

function nameTheme() {
  for (const button of document.querySelectorAll("[data-theme-switch]")) {
    button.hidden = false;
    button.setAttribute("aria-label", `Colours: ${NAMES[theme()]}`);
    button.title = `Colours: ${NAMES[theme()]} (t)`;
  }
}

function nextTheme() {
  setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
}

function isTyping(target) {
  return target.closest?.("input:not([type=radio]):not([type=checkbox]), select, textarea, [contenteditable]");
}

let waiting = false; // for the letter after g

function goTo(key) {
  const link = document.querySelector(`.top nav a[data-key="${CSS.escape(key)}"]`);
  if (link) link.click();
}

function onKey(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
  if (document.querySelector("dialog[open]") && event.key !== "?") return;
  const key = event.key;
  if (waiting) {
    waiting = false;
    goTo(key);
  } else if (key === "g") {
    waiting = true;
    setTimeout(() => (waiting = false), 1500);
  } else if (key === "/") {
    document.getElementById("find")?.focus();
    event.preventDefault();
  } else if (key === "t") {
    nextTheme();
  } else if (key === "?") {
    const dialog = document.getElementById("keys");
    if (dialog.open) dialog.close();
    else dialog.showModal();
  } else if (key === "[" || key === "]") {
    document.querySelector(`main a[data-key="${key}"]`)?.click();
  }
}

nameTheme();
for (const button of document.querySelectorAll("[data-theme-switch]")) button.addEventListener("click", nextTheme);
for (const hint of document.querySelectorAll(".keys-hint")) hint.hidden = false;
document.addEventListener("keydown", onKey);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawCharts);
startTables();
startFilters();
startWalks();
startCharts();
