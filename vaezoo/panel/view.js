// Views of a panel: a picture, a pad to draw on, codes in a plane, and curves of training.
// Python sets `state` and `cross`; hands and keys set `cross` too, and send what is drawn.

const COLOURS = [
  "#3f90da", "#ffa90e", "#bd1f01", "#94a4a2", "#832db6",
  "#a96b59", "#e76300", "#b9ac70", "#717581", "#92dadd",
];
const PAUSE = 40; // milliseconds between two messages of one movement

function make(name, attributes, parent) {
  const svg = ["svg", "g", "line", "text", "path", "rect", "title"].includes(name);
  const it = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", name)
    : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) it.setAttribute(key, value);
  parent?.append(it);
  return it;
}

// At most one call every PAUSE, the last one always.
function seldom(call) {
  let waiting = null;
  return () => {
    waiting ??= setTimeout(() => {
      waiting = null;
      call();
    }, PAUSE);
  };
}

function paint(canvas, { height, width, channels, levels }) {
  Object.assign(canvas, { height, width });
  const context = canvas.getContext("2d");
  const image = context.createImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    for (let c = 0; c < 3; c++) image.data[4 * i + c] = levels[channels * i + (channels === 3 ? c : 0)];
    image.data[4 * i + 3] = 255;
  }
  context.putImageData(image, 0, 0);
}

function picture(model, el) {
  const canvas = make("canvas", { class: "vaezoo-pixels", role: "img", "aria-label": model.get("label") }, el);
  const draw = () => {
    const state = model.get("state");
    if (state.levels) paint(canvas, state);
    canvas.dataset.drawn = Number(canvas.dataset.drawn ?? 0) + 1;
  };
  model.on("change:state", draw);
  draw();
}

function pad(model, el) {
  const frame = make("div", { class: "vaezoo-frame" }, el);
  const canvas = make("canvas", {
    class: "vaezoo-pixels vaezoo-pad", tabindex: 0, role: "application",
    "aria-label": "pad to draw on: arrows move the pen, space lifts and lowers it, delete clears",
  }, frame);
  const pen = make("div", { class: "vaezoo-pen" }, frame);
  let cells, height, width, at, down = false;
  const send = seldom(() => model.send({ cells }));

  const show = () => {
    paint(canvas, { height, width, channels: 1, levels: cells });
    pen.style.left = `${(100 * (at[0] + 0.5)) / width}%`;
    pen.style.top = `${(100 * (at[1] + 0.5)) / height}%`;
    pen.classList.toggle("vaezoo-down", down);
  };
  const mark = (x, y) => {
    const radius = Math.max(0.7, width / 25);
    for (let row = 0; row < height; row++)
      for (let column = 0; column < width; column++)
        if (Math.hypot(column - x, row - y) <= radius) cells[row * width + column] = 255;
  };
  const draw = (x, y) => {
    const n = Math.ceil(2 * Math.max(Math.abs(x - at[0]), Math.abs(y - at[1]), 0.5));
    for (let i = 0; i <= n; i++) mark(at[0] + ((x - at[0]) * i) / n, at[1] + ((y - at[1]) * i) / n);
    at = [x, y];
    show();
    send();
  };
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [
      ((event.clientX - box.left) / box.width) * width - 0.5,
      ((event.clientY - box.top) / box.height) * height - 0.5,
    ];
  };
  const load = () => {
    const state = model.get("state");
    ({ height, width } = state);
    cells = Array.from(state.levels);
    at ??= [(width - 1) / 2, (height - 1) / 2];
    show();
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    at = place(event);
    draw(...at);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) draw(...place(event));
  });
  canvas.addEventListener("keydown", (event) => {
    const [right, below] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key] ?? [0, 0];
    if (right || below) {
      const to = [
        Math.min(width - 1, Math.max(0, Math.round(at[0]) + right)),
        Math.min(height - 1, Math.max(0, Math.round(at[1]) + below)),
      ];
      if (down) draw(...to);
      else at = to;
    } else if (event.key === " ") {
      down = !down;
      if (down) draw(...at);
    } else if (event.key === "Delete" || event.key === "Backspace") {
      cells.fill(0);
      send();
    } else return;
    event.preventDefault();
    show();
  });
  model.on("change:state", load);
  load();
}

const SIZE = 400;

function latent(model, el) {
  const svg = make("svg", {
    viewBox: `0 0 ${SIZE} ${SIZE}`, class: "vaezoo-latent", tabindex: 0, role: "application",
    "aria-label": "latent space: arrows move the cross, whose code is decoded",
  }, el);
  const ground = make("g", {}, svg);
  const cross = make("path", { d: "M-11 0H11M0 -11V11", class: "vaezoo-cross" }, svg);
  const send = seldom(() => model.save_changes());
  let extent = 1;
  const there = (v) => (v / extent / 2) * SIZE;
  const moved = () => {
    const [x, y] = model.get("cross");
    cross.setAttribute("transform", `translate(${SIZE / 2 + there(x)} ${SIZE / 2 - there(y)})`);
  };
  const move = (x, y) => {
    const within = (v) => Math.min(extent, Math.max(-extent, v));
    model.set("cross", [within(x), within(y)]);
    moved();
    send();
  };
  const draw = () => {
    const { codes, labels, prior, extent: limit } = model.get("state");
    extent = limit;
    ground.replaceChildren();
    for (const v of [-extent / 2, 0, extent / 2]) {
      make("line", { x1: SIZE / 2 + there(v), x2: SIZE / 2 + there(v), y1: 0, y2: SIZE, class: "vaezoo-grid" }, ground);
      make("line", { y1: SIZE / 2 - there(v), y2: SIZE / 2 - there(v), x1: 0, x2: SIZE, class: "vaezoo-grid" }, ground);
      make("text", { x: SIZE / 2 + there(v) + 3, y: SIZE - 5, class: "vaezoo-tick" }, ground).textContent = v.toPrecision(2) * 1;
      if (v) make("text", { x: 4, y: SIZE / 2 - there(v) - 4, class: "vaezoo-tick" }, ground).textContent = v.toPrecision(2) * 1;
    }
    const dots = []; // of no length, with round ends: one node is drawn much faster than hundreds
    for (let i = 0; i < prior.length; i += 2) dots.push(`M${SIZE / 2 + there(prior[i])} ${SIZE / 2 - there(prior[i + 1])}h0`);
    make("path", { d: dots.join(""), class: "vaezoo-prior" }, ground);
    for (let i = 0; i < codes.length; i += 2) {
      const label = labels[i / 2];
      const point = make("text", { x: SIZE / 2 + there(codes[i]), y: SIZE / 2 - there(codes[i + 1]), class: "vaezoo-code" }, ground);
      point.textContent = label >= 0 ? label : "•";
      if (label >= 0) point.style.setProperty("--colour", COLOURS[label % COLOURS.length]);
    }
    moved();
    svg.dataset.drawn = Number(svg.dataset.drawn ?? 0) + 1;
  };
  const point = (event) => {
    const box = svg.getBoundingClientRect();
    move(
      (((event.clientX - box.left) / box.width) * 2 - 1) * extent,
      (1 - ((event.clientY - box.top) / box.height) * 2) * extent,
    );
  };
  svg.addEventListener("pointerdown", (event) => {
    svg.setPointerCapture(event.pointerId);
    point(event);
  });
  svg.addEventListener("pointermove", (event) => event.buttons & 1 && point(event));
  svg.addEventListener("keydown", (event) => {
    const step = (event.shiftKey ? 0.2 : 0.04) * extent;
    const by = { ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] }[event.key];
    if (!by) return;
    event.preventDefault();
    const [x, y] = model.get("cross");
    move(x + by[0], y + by[1]);
  });
  model.on("change:state", draw);
  model.on("change:cross", moved);
  draw();
}

const WIDE = 300, HIGH = 100, LEFT = 48;

function curve(name, step, values, marks, last, parent) {
  const svg = make("svg", { class: "vaezoo-curve", viewBox: `0 0 ${WIDE} ${HIGH}`, role: "img", "aria-label": `${name} in training` }, parent);
  const shown = values.filter((v) => Number.isFinite(v));
  const low = Math.min(...shown), high = Math.max(...shown);
  const across = (s) => LEFT + (s / last) * (WIDE - LEFT - 8) + 2;
  const down = (v) => 8 + (HIGH - 34) * (1 - (v - low) / (high - low || 1));
  const write = (x, y, text, kind) => {
    make("text", { x, y, class: `vaezoo-tick ${kind}` }, svg).textContent = text;
  };
  make("rect", { x: LEFT, y: 3, width: WIDE - LEFT - 4, height: HIGH - 23, class: "vaezoo-box" }, svg);
  const path = values.map((v, i) => `${i ? "L" : "M"}${across(step[i]).toFixed(1)} ${down(v).toFixed(1)}`);
  make("path", { d: path.join(""), class: "vaezoo-line" }, svg);
  if (shown.length) {
    write(LEFT - 4, 14, high.toFixed(1).replace("-", "−"), "vaezoo-end");
    write(LEFT - 4, HIGH - 22, low.toFixed(1).replace("-", "−"), "vaezoo-end");
  }
  write(LEFT, HIGH - 5, `${name}, nats`, "vaezoo-name");
  write(WIDE - 4, HIGH - 5, `step ${last.toLocaleString("en")}`, "vaezoo-end");
  for (const [at, what] of marks) {
    const line = make("line", { x1: across(at), x2: across(at), y1: 3, y2: HIGH - 20, class: "vaezoo-mark" }, svg);
    make("title", {}, line).textContent = what;
  }
}

function curves(model, el) {
  const row = make("div", { class: "vaezoo-row" }, el);
  const draw = () => {
    const { step, lines, marks } = model.get("state");
    row.replaceChildren();
    const last = Math.max(1, step.at(-1) ?? 1, ...marks.map(([at]) => at));
    for (const [name, values] of lines) curve(name, step, values, marks, last, row);
  };
  model.on("change:state", draw);
  draw();
}

const KINDS = { picture, pad, latent, curves };

function render({ model, el }) {
  el.classList.add("vaezoo-view");
  KINDS[model.get("kind")](model, el);
  if (model.get("kind") === "latent") keepKeys(el);
}

// Keys in the panel are the panel's: a notebook would take "d d" to delete the cell. JupyterLab asks
// the element that has the focus.
function keepKeys(el) {
  new ResizeObserver((_, observer) => {
    const panel = el.closest(".vaezoo-panel");
    if (!panel) return; // it is not in the page yet
    panel.addEventListener("focusin", (event) => {
      event.target.dataset.lmSuppressShortcuts = "true";
    });
    observer.disconnect();
  }).observe(el);
}

export default { render };
