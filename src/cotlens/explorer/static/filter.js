// Lists of an exported folder, which no server filters.
export function startFilters() {
  for (const box of document.querySelectorAll("[data-filter]")) {
    const items = [...document.querySelectorAll("ul.completions > li, table.neurons tbody tr")];
    const texts = items.map((item) => item.textContent.toLowerCase());
    box.addEventListener("input", () => {
      const words = box.value.toLowerCase().split(/\s+/).filter(Boolean);
      items.forEach((item, place) => (item.hidden = !words.every((word) => texts[place].includes(word))));
    });
  }
}
