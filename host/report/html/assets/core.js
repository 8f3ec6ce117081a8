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

function bytes(count) {
  if (count === null || count === undefined) return "";
  return count < 1024 ? count + " B" : number(count / 1024) + " KiB";
}

const fill = (lane) => "f-" + (KNOWN_LANES.includes(lane) ? lane : "other");
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
const isPim = (schedule, node) => data.devices[deviceOf(schedule, node)]?.[0] === "pim";

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
  return lines.join("\n");
}
