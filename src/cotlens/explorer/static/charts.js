// Charts by Vega, from the specifications that the report is made of. Without this script a picture stands in their place.
const drawn = new Set();
let bundle = null;

function vega() {
  bundle ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("vega.js", import.meta.url);
    script.type = "module"; // the bundle's own names stay its own
    script.onload = () => resolve(window.vegaEmbed);
    script.onerror = () => reject(new Error("the chart library did not load"));
    document.head.append(script);
  });
  return bundle;
}

function themed(spec, colours) {
  const style = getComputedStyle(document.documentElement);
  let text = JSON.stringify(spec);
  for (const [colour, name] of Object.entries(colours)) {
    text = text.replaceAll(new RegExp(`"${colour}"`, "gi"), JSON.stringify(style.getPropertyValue(`--${name}`).trim()));
  }
  return JSON.parse(text);
}

// The widest of the widths that a chart is made in, that fits.
function fitting(box) {
  const widths = box.dataset.widths.split(" ").map(Number);
  return widths.findLast((width) => width <= box.clientWidth + 2) ?? widths[0];
}

async function draw(box) {
  const width = fitting(box);
  const address = box.getAttribute(`data-at-${width}`);
  try {
    box.record = box.record?.address === address ? box.record : { address, ...(await (await fetch(address)).json()) };
    const { spec, colours } = box.record;
    if (!spec) throw new Error(box.record.detail);
    const embed = await vega();
    box.view?.finalize();
    const place = document.createElement("div");
    box.replaceChildren(place);
    box.view = await embed(place, themed(spec, colours), {
      actions: false,
      ast: true,
      defaultStyle: false,
      logLevel: 1, // errors
      renderer: "svg",
      tooltip: { disableDefaultStyle: true, theme: "cotlens" },
    });
    box.dataset.drawn = width;
    drawn.add(box);
  } catch (error) {
    const note = document.createElement("p");
    note.className = "empty";
    note.textContent = `This chart can’t be drawn: ${error.message}. Its numbers stand below.`;
    box.replaceChildren(note);
  }
}

export function redrawCharts() {
  for (const box of drawn) draw(box);
}

export function startCharts() {
  const boxes = document.querySelectorAll(".chart[data-widths]");
  const seen = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        if (!entry.isIntersecting) continue;
        seen.unobserve(entry.target);
        draw(entry.target);
      }
    },
    { rootMargin: "400px" },
  );
  for (const box of boxes) seen.observe(box);
  let later;
  addEventListener("resize", () => {
    clearTimeout(later);
    later = setTimeout(() => {
      for (const box of drawn) {
        if (String(fitting(box)) !== box.dataset.drawn) draw(box);
      }
    }, 200);
  });
}
