// A walk through a completion: from token to token by click or arrow key, the grid of active neurons going along.
const SHADES = 5;
let active = null; // the walk that arrow keys move in

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== undefined && value !== null) made.setAttribute(key, value);
  }
  made.append(...children);
  return made;
}

function signed(number) {
  const text = Math.abs(number) >= 0.0005 ? number.toFixed(3) : number.toPrecision(2);
  return (number >= 0 ? "+" : "") + text.replace("-", "−");
}

class Walk {
  constructor(section, data) {
    this.section = section;
    this.data = data;
    this.tokens = [...section.querySelectorAll("a.token")];
    this.step = Number(section.dataset.step);
    this.places = [...document.querySelectorAll("[data-concepts] input[name=concept]")].map((input) => input.value);
    this.concept = document.querySelector("[data-concepts] input[name=concept]:checked")?.value ?? "all";
    this.neuronAddress = section.dataset.neurons;
    this.onlyLabelled = "onlyLabelled" in section.dataset; // the others have no page
    this.cells = new Map();
    this.listen();
    this.mark();
    this.markGrid();
  }

  listen() {
    this.tokens.forEach((token) => {
      token.addEventListener("click", (event) => {
        if (event.ctrlKey || event.metaKey || event.shiftKey) return;
        event.preventDefault();
        this.go(Number(token.dataset.step), true);
      });
      token.addEventListener("focus", () => (active = this));
    });
    this.grid = this.section.querySelector("[data-grid]");
    this.about = this.section.querySelector("[data-about]");
    this.grid.addEventListener("mouseover", (event) => this.tell(event.target.closest("td")));
    this.grid.addEventListener("focusin", (event) => this.tell(event.target.closest("td")));
    this.grid.addEventListener("keydown", (event) => this.moveInGrid(event));
    this.section.addEventListener("pointerdown", () => (active = this));
  }

  // One token takes part in the order of the Tab key, the current one.
  mark() {
    this.tokens.forEach((token, place) => {
      const here = place === this.step;
      token.tabIndex = here ? 0 : -1;
      if (here) token.setAttribute("aria-current", "true");
      else token.removeAttribute("aria-current");
    });
  }

  // Of the grid's cells, too, one takes part: the first, then the one last looked at.
  markGrid() {
    const cells = [...this.grid.querySelectorAll("td > *")];
    cells.forEach((cell, place) => (cell.tabIndex = place === 0 ? 0 : -1));
  }

  go(step, focus) {
    if (step < 0 || step >= this.data.steps) return;
    this.step = step;
    active = this;
    this.mark();
    if (focus) this.tokens[step]?.focus({ preventScroll: false });
    const token = this.tokens[step];
    this.section.querySelector("[data-at]").textContent = step;
    this.section.querySelector("[data-token]").textContent = token?.querySelector("span").textContent ?? "";
    this.section.querySelector("[data-role]").textContent = (token?.title ?? "").split(";")[0].split(", ").slice(1).join(", ");
    this.fill();
    const address = new URL(location.href);
    address.searchParams.set("step", step);
    history.replaceState(null, "", address);
    document.querySelector("[data-concepts] input[name=step]")?.setAttribute("value", step);
  }

  // The line of tokens above or below, the nearest one.
  vertical(direction) {
    const here = this.tokens[this.step].getBoundingClientRect();
    const middle = (here.left + here.right) / 2;
    let best = null;
    for (const token of this.tokens) {
      const box = token.getBoundingClientRect();
      const lines = direction * (box.top - here.top);
      if (lines < here.height / 2) continue;
      const far = lines * 10000 + Math.abs((box.left + box.right) / 2 - middle);
      if (best === null || far < best.far) best = { far, step: Number(token.dataset.step) };
    }
    if (best) this.go(best.step, true);
  }

  // The cells of a step, fetched once; those of the steps beside it are fetched ahead.
  at(step) {
    if (!this.cells.has(step)) {
      const asked = fetch(this.section.dataset.steps.replace("STEP", step)).then(async (answer) => {
        const found = await answer.json();
        if (!answer.ok) throw new Error(found.detail);
        // What their place tells may be left out of the cells.
        const layers = found.layers.map((cells, layer) => cells.map((cell, rank) => ({ layer, rank, ...cell })));
        layers.lens = found.lens ?? [];
        return layers;
      });
      this.cells.set(step, asked);
      asked.catch(() => this.cells.delete(step));
    }
    return this.cells.get(step);
  }

  address({ layer, neuron, concepts }) {
    if (!this.neuronAddress || (this.onlyLabelled && !concepts.length)) return null;
    return this.neuronAddress.replace("L0N0", `L${layer}N${neuron}`);
  }

  async fill() {
    const step = this.step;
    const layers = await this.at(step);
    if (step !== this.step) return; // the reader has gone on
    const rows = [...this.grid.tBodies[0].rows];
    for (const cells of layers) {
      const row = rows[layers.length - 1 - cells[0].layer];
      for (const found of cells) {
        const cell = row.cells[found.rank + 1];
        const place = found.concepts.length ? ` c${this.places.indexOf(found.concepts[0])} on` : "";
        cell.className = `${found.coefficient >= 0 ? "up" : "down"} s${found.shade}${place}`;
        const address = this.address(found);
        const focused = cell.contains(document.activeElement);
        const tab = cell.firstElementChild?.tabIndex ?? -1;
        let link = cell.firstElementChild;
        if ((link.tagName === "A") !== Boolean(address)) {
          link = element(address ? "a" : "span");
          cell.replaceChildren(link);
        }
        link.textContent = found.tokens[0] || "·";
        link.tabIndex = tab;
        if (address) link.setAttribute("href", address);
        if (focused) link.focus();
      }
    }
    this.look(layers.lens);
    this.list(layers.flat().filter((found) => found.concepts.length));
    if (this.told) this.tell(this.told);
    for (const near of [step + 1, step - 1, step + 2]) {
      if (near >= 0 && near < this.data.steps) this.at(near);
    }
  }

  // The logit lens, where it was recorded.
  look(lens) {
    const table = this.section.querySelector("[data-lens]");
    if (!table || !lens.length) return;
    const rows = [...table.tBodies[0].rows];
    lens.forEach((tokens, layer) => {
      tokens.forEach((token, rank) => {
        const cell = rows[lens.length - 1 - layer].cells[rank + 1];
        cell.className = `up s${token.shade}`;
        const share = element("small", {}, String(token.percent));
        cell.firstElementChild.replaceChildren(`${token.shown} `, share);
      });
    });
  }

  list(labelled) {
    const body = this.section.querySelector("[data-labelled]");
    if (!labelled.length) {
      body.replaceChildren(element("tr", {}, element("td", { colspan: 5, class: "empty" }, "None.")));
      return;
    }
    body.replaceChildren(
      ...labelled.map((found) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, this.link(found)),
          element("td", {}, ...found.concepts.map((name) => this.tag(name))),
          element("td", { class: "n" }, signed(found.coefficient)),
          element("td", { class: "n" }, String(found.rank + 1)),
          element("td", {}, this.chips(found.tokens)),
        ),
      ),
    );
  }

  link(found) {
    const name = `L${found.layer}N${found.neuron}`;
    const address = this.address(found);
    return address ? element("a", { href: address }, name) : element("span", {}, name);
  }

  tag(name) {
    return element("span", { class: "tag" }, element("i", { class: `swatch c${this.places.indexOf(name)}` }), name);
  }

  chips(tokens) {
    return element("span", { class: "chips" }, ...tokens.map((token) => element("code", {}, token)));
  }

  // What is known of a cell, beneath the grid.
  async tell(cell) {
    if (!cell) return;
    this.told = cell;
    const layers = await this.at(this.step);
    if (this.told !== cell) return;
    const found = layers[layers.length - 1 - cell.parentElement.sectionRowIndex][cell.cellIndex - 1];
    this.about.hidden = false;
    this.about.replaceChildren(
      element(
        "p",
        {},
        element("b", {}, this.link(found)),
        ` rank ${found.rank + 1} of layer ${found.layer}, coefficient ${signed(found.coefficient)}, score ${found.score} `,
        ...found.concepts.map((name) => this.tag(name)),
      ),
      element("p", {}, "promotes ", this.chips(found.tokens)),
    );
  }

  moveInGrid(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
    const move = moves[event.key];
    const cell = event.target.closest("td");
    if (!move || !cell) return;
    event.preventDefault();
    event.stopPropagation();
    const row = this.grid.tBodies[0].rows[cell.parentElement.sectionRowIndex + move[0]];
    const link = row?.cells[cell.cellIndex + move[1]]?.firstElementChild;
    if (!link) return;
    event.target.tabIndex = -1;
    link.tabIndex = 0;
    link.focus();
  }

  colour(concept) {
    this.concept = concept;
    const counts = this.counts(concept);
    const most = Math.max(0, ...counts);
    const strip = this.section.querySelector(".tokens");
    strip.className = strip.className.replace(/ c-?\d+/, "") + ` c${concept === "all" ? -1 : this.places.indexOf(concept)}`;
    this.tokens.forEach((token, step) => {
      const count = counts[step] ?? 0;
      const shade = count ? Math.max(1, Math.round((SHADES * count) / most)) : 0;
      token.className = token.className.replace(/ h\d/, ` h${shade}`);
      const [before] = token.title.split(";");
      token.title = `${before}; ${count} active ${count === 1 ? "neuron" : "neurons"} of ${concept}`;
    });
  }

  counts(concept) {
    if (concept !== "all") return this.data.concepts[concept] ?? [];
    const all = Object.values(this.data.concepts);
    return Array.from({ length: this.data.steps }, (_, step) => all.reduce((sum, counts) => sum + counts[step], 0));
  }
}

function onKey(event, walks) {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.closest?.("input, select, textarea, table, .scroll")) return;
  const walk = active ?? walks[0];
  if (!walk) return;
  const inTokens = event.target.closest?.(".tokens");
  if (event.key === "ArrowLeft") walk.go(walk.step - 1, true);
  else if (event.key === "ArrowRight") walk.go(walk.step + 1, true);
  else if (inTokens && event.key === "ArrowUp") walk.vertical(-1);
  else if (inTokens && event.key === "ArrowDown") walk.vertical(1);
  else if (inTokens && event.key === "Home") walk.go(0, true);
  else if (inTokens && event.key === "End") walk.go(walk.data.steps - 1, true);
  else if (event.key === "c") return nextConcept();
  else return;
  event.preventDefault();
}

// An exported page is one file for all steps and concepts.
function followAddress(walks) {
  const query = new URLSearchParams(location.search);
  const step = Number.parseInt(query.get("step") ?? "", 10);
  for (const walk of walks) {
    if (walk && Number.isInteger(step) && step !== walk.step) walk.go(step, false);
  }
  const choice = [...document.querySelectorAll("[data-concepts] input[name=concept]")].find(
    (input) => input.value === query.get("concept"),
  );
  if (choice && !choice.checked) {
    choice.checked = true;
    for (const walk of walks) walk?.colour(choice.value);
  }
}

function nextConcept() {
  const choices = [...document.querySelectorAll("[data-concepts] input[name=concept]")];
  if (!choices.length) return;
  const place = choices.findIndex((choice) => choice.checked);
  const next = choices[(place + 1) % choices.length];
  next.checked = true;
  next.dispatchEvent(new Event("change", { bubbles: true }));
}

export async function startWalks() {
  const sections = [...document.querySelectorAll("[data-walk]")];
  if (!sections.length) return;
  const walks = [];
  const choices = document.querySelector("[data-concepts]");
  await Promise.all(
    sections.map(async (section, place) => {
      const answer = await fetch(section.dataset.activity);
      if (answer.ok) walks[place] = new Walk(section, await answer.json());
    }),
  );
  followAddress(walks);
  const ready = walks.filter(Boolean);
  choices?.querySelector("[data-submit]")?.setAttribute("hidden", "");
  choices?.addEventListener("change", (event) => {
    for (const walk of ready) walk.colour(event.target.value);
    const address = new URL(location.href);
    address.searchParams.set("concept", event.target.value);
    history.replaceState(null, "", address);
  });
  document.addEventListener("keydown", (event) => onKey(event, ready));
  document.documentElement.dataset.walks = String(ready.length);
}
