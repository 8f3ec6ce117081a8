// Shared by the other scripts: the data, elements, numbers, the tooltip and the chosen schedule.
// Text from the report only ever becomes textContent or an attribute, never markup.

const data = JSON.parse(document.getElementById("data").textContent);
const SVG = "http://www.w3.org/2000/svg";
const KNOWN_LANES = ["cpu_serial", "cpu_parallel", "pim", "dma"];

const byId = (id) => document.getElementById(id);

function svg(name, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function html(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}

function number(value) {
  const size = Math.abs(value);
  const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3;
  return value.toLocaleString("en-US", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

// A number and its noun, which is singular after 1 alone.
const quantity = (count, noun) => `${count} ${noun}${count === 1 ? "" : "s"}`;

function time(us) {
  if (us === null || us === undefined) return "–";
  if (us === 0) return "0";
  if (us < 1e3) return number(us) + " µs";
  return us < 1e6 ? number(us / 1e3) + " ms" : number(us / 1e6) + " s";
}

function energy(uj) {
  if (uj === 0) return "0";
  if (uj < 1) return number(uj * 1e3) + " nJ";
  if (uj < 1e3) return number(uj) + " µJ";
  return uj < 1e6 ? number(uj / 1e3) + " mJ" : number(uj / 1e6) + " J";
}

function bytes(count) {
  if (count === null || count === undefined) return "";
  return count < 1024 ? count + " B" : number(count / 1024) + " KiB";
}

const fill = (lane) => "f-" + (KNOWN_LANES.includes(lane) ? lane : lane?.includes("+") ? "split" : "other");
const opFill = (op) => "f-op-" + (op in data.colours ? data.colours[op] : "other");

// Round steps for an axis of about `count` parts.
function step(span, count) {
  const raw = span / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(raw));
  return power * ([1, 2, 5, 10].find((factor) => factor * power >= raw) ?? 10);
}

// --- tooltip -------------------------------------------------------------------------------------

const tip = byId("tip");

function showTip(text, x, y) {
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.min(Math.max(8, x + 14), innerWidth - width - 8);
  const top = y + 18 + height > innerHeight ? y - height - 12 : y + 18;
  tip.style.left = left + "px";
  tip.style.top = Math.max(8, top) + "px";
}

function hideTip() {
  tip.hidden = true;
}

// Who knows what to say of an element: `find(target)` returns a text for what is inside `root`.
const tipFinders = [];
const tips = (root, find) => tipFinders.push([root, find]);

addEventListener("pointermove", (event) => {
  for (const [root, find] of event.buttons ? [] : tipFinders) {
    const text = root.contains(event.target) && find(event.target);
    if (text) return showTip(text, event.clientX, event.clientY);
  }
  hideTip();
});
document.documentElement.addEventListener("pointerleave", hideTip);

// --- the chosen schedule -------------------------------------------------------------------------

const listeners = [];
const state = { schedule: 0 };
const chosen = () => data.schedules[state.schedule];

function choose(index) {
  state.schedule = index;
  for (const select of document.querySelectorAll("[data-picker]")) {
    select.value = data.schedules[index].name;
  }
  for (const listener of listeners) listener();
}

const deviceOf = (schedule, node) => schedule.devices.charCodeAt(node) - 97;

// Where an operator needs its inputs, and where its result is whole: a split's is nowhere.
const memoriesOf = (schedule, node) => data.devices[deviceOf(schedule, node)]?.[3] ?? [];
const wholeIn = (schedule, node) => {
  const memories = node < 0 ? ["cpu"] : memoriesOf(schedule, node);
  return memories.length === 1 ? memories[0] : null;
};

// What an operator takes in a schedule; of a split, its slower part.
function costOf(schedule, node) {
  const split = schedule.splits?.[node];
  return split ? Math.max(...split[0].map(([, , us]) => us ?? 0)) : data.nodes[node][4][deviceOf(schedule, node)];
}

const signed = (us) => (us < 0 ? "−" : "+") + time(Math.abs(us));

// How much longer an operator may take before the optimum has it elsewhere; null: not known,
// Infinity: it can run nowhere else.
function margin(schedule, node) {
  const others = schedule.elsewhere?.[node];
  if (!others) return null;
  return Math.min(Infinity, ...others.map(([, , , , , regret]) => regret).filter((us) => us !== null));
}

function marginText(schedule, node) {
  const us = margin(schedule, node);
  return us === null ? "–" : us === Infinity ? "only place" : (schedule.exact ? "" : "at least ") + time(us);
}

// Why an operator is where it is: a line, and a table of the other places.
function why(node, schedule) {
  const us = margin(schedule, node);
  if (us === null) return [];
  if (us === Infinity) return [html("p", {}, "It can run nowhere else.")];
  const atLeast = schedule.exact ? "" : "at least ";
  const line = us
    ? `It stays here until it takes ${atLeast}${time(us)} longer here, or as much less elsewhere.`
    : "Elsewhere the whole takes as long: another optimum.";
  const own = costOf(schedule, node) ?? 0;
  const moves = (list) => list.map(([tensor, direction, t]) => `${data.tensors[tensor] ?? "a tensor"} ${direction} ${time(t)}`).join("\n") || "–";
  const row = ([title, cost, adds, saves, kept, regret]) => html("tr", {}, html("th", { scope: "row" }, title),
    html("td", { class: "num" }, regret === null ? "impossible" : atLeast + signed(regret)),
    html("td", { class: "num" }, kept === null ? "forbidden" : signed(kept)),
    html("td", { class: "num" }, signed(cost - own)), html("td", {}, moves(adds)), html("td", {}, moves(saves)));
  const others = [...schedule.elsewhere[node]].sort((a, b) => (a[5] ?? Infinity) - (b[5] ?? Infinity));
  const head = ["Elsewhere", "The whole at best", "Moved alone", "Itself", "Transfers it adds", "Transfers it saves"];
  return [html("p", {}, line), html("div", { class: "scroll" }, html("table", { class: "narrow" },
    html("thead", {}, html("tr", {}, ...head.map((text, i) => html("th", { scope: "col", class: i > 0 && i < 4 ? "num" : "" }, text)))),
    html("tbody", {}, ...others.map(row))))];
}

// What both devices of a split do, and how far apart they end.
function splitText(split) {
  const [sides, gather] = split;
  const lines = [sides.map(([title, columns, us]) => `${title} ${columns} columns ${time(us)}`).join(" ∥ ")];
  const times = sides.map(([, , us]) => us);
  if (!times.includes(null)) {
    const [apart, first] = [Math.abs(times[0] - times[1]), sides[times[0] < times[1] ? 0 : 1][0]];
    lines.push(apart ? `both sides finish within ${time(apart)} of each other, ${first} first` : "both sides finish together");
  }
  for (const [memory, us] of Object.entries(gather)) lines.push(`then gathered in memory ${memory}: ${time(us)}`);
  return lines.join("\n");
}

// What an operator costs, for tooltips and details.
function describe(node, schedule) {
  const [id, op, signature, shape, cost, source] = data.nodes[node];
  const lines = [id === op ? id : `${id} · ${op}`];
  if (signature) lines.push(signature);
  if (shape.length) lines.push("result " + shape.join("×"));
  data.devices.forEach(([, title], device) => {
    if (cost[device] === null) return;
    const here = schedule && deviceOf(schedule, node) === device;
    const from = source[device] ? ` (${source[device]})` : "";
    lines.push(`${here ? "▸ " : "   "}${title}: ${time(cost[device])}${from}`);
  });
  const split = schedule?.splits?.[node];
  if (split) lines.push("▸ " + splitText(split));
  if (schedule?.energy) lines.push(`energy here, modelled: ${energy(schedule.energy[node])}`);
  return lines.join("\n");
}
