// The roofline of the PIM operators, both axes logarithmic, and the table behind it.

const MARKS = [
  (x, y, r) => svg("circle", { cx: x, cy: y, r }),
  (x, y, r) => svg("rect", { x: x - r, y: y - r, width: 2 * r, height: 2 * r }),
  (x, y, r) => svg("path", { d: `M${x} ${y - r * 1.2}L${x + r * 1.2} ${y + r}H${x - r * 1.2}Z` }),
  (x, y, r) => svg("path", { d: `M${x} ${y - r * 1.3}L${x + r * 1.3} ${y}L${x} ${y + r * 1.3}L${x - r * 1.3} ${y}Z` }),
];

function drawRoofline() {
  const view = byId("roofline-view"), roofline = data.roofline;
  const points = gather(roofline?.points ?? []);
  if (!points.length) {
    view.textContent = "No matrix multiplication ran on a PIM with a clock in this report.";
    byId("roofline-table").parentElement.remove();
    return;
  }
  const ops = [...new Set(points.map((p) => p.op))];
  const roof = (x) => Math.min(roofline.peak, x * roofline.bandwidth);
  const ridge = roofline.peak / roofline.bandwidth;
  const xs = [...points.map((p) => p.x), ridge], ys = [...points.map((p) => p.y), roofline.peak];
  const x0 = Math.min(...xs) / 2, x1 = Math.max(...xs) * 2.5;
  const y0 = Math.min(...ys, roof(x0)) / 1.6, y1 = Math.max(...ys) * 1.9;

  function draw() {
    const width = view.clientWidth, height = Math.min(440, Math.max(280, width * 0.5));
    const left = 58, right = width - 10, top = 12, bottom = height - 44;
    const px = (x) => left + (Math.log(x / x0) / Math.log(x1 / x0)) * (right - left);
    const py = (y) => bottom - (Math.log(y / y0) / Math.log(y1 / y0)) * (bottom - top);
    const root = svg("svg", { width, height, role: "img", "aria-label": "Roofline; the table has the numbers" });
    for (const x of ticks(x0, x1)) {
      root.append(svg("line", { class: "grid", x1: px(x), x2: px(x), y1: top, y2: bottom }));
      root.append(svg("text", { class: "axis", x: px(x), y: bottom + 17, "text-anchor": "middle" }, plain(x)));
    }
    for (const y of ticks(y0, y1)) {
      root.append(svg("line", { class: "grid", x1: left, x2: right, y1: py(y), y2: py(y) }));
      root.append(svg("text", { class: "axis", x: left - 6, y: py(y) + 4, "text-anchor": "end" }, plain(y / 1e3)));
    }
    root.append(svg("text", { class: "axis", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, "multiply-adds per byte from the DRAM"));
    root.append(svg("text", { class: "axis", transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "billion multiply-adds a second"));
    root.append(svg("path", { class: "roof", d: `M${px(x0)} ${py(roof(x0))}L${px(ridge)} ${py(roofline.peak)}H${right}` }));
    root.append(svg("text", { class: "axis", x: right - 4, y: py(roofline.peak) - 7, "text-anchor": "end" }, `all lanes: ${number(roofline.peak / 1e3)} billion/s`));
    points.forEach((point, i) => {
      const kind = ops.indexOf(point.op);
      const mark = MARKS[kind % MARKS.length](px(point.x), py(point.y), 5 + Math.min(4, Math.log2(point.count)));
      mark.setAttribute("class", "point " + opFill(point.op));
      mark.setAttribute("data-point", i);
      root.append(mark);
    });
    view.replaceChildren(root, legend(ops));
  }
  new ResizeObserver(draw).observe(view);
  tips(view, (target) => {
    const point = points[target.dataset?.point];
    return point && `${point.count} × ${point.op} ${point.signature}\n${number(point.y / 1e3)} billion multiply-adds a second, ${number((100 * point.y) / roof(point.x))} % of the roof\n${number(point.x)} multiply-adds a byte, ${time(point.us)}`;
  });
  const heads = ["Operator", "Count", "Multiply-adds", "Bytes", "Time", "Billion/s", "Of the roof"];
  const body = points.map((p) => html("tr", {}, html("th", { scope: "row" }, `${p.op} ${p.signature}`),
    ...[p.count, p.macs.toLocaleString("en-US"), p.bytes.toLocaleString("en-US"), time(p.us), number(p.y / 1e3), number((100 * p.y) / roof(p.x)) + " %"]
      .map((cell) => html("td", { class: "num" }, String(cell)))));
  byId("roofline-table").append(html("table", {},
    html("thead", {}, html("tr", {}, ...heads.map((head, i) => html("th", { scope: "col", class: i ? "num" : "" }, head)))),
    html("tbody", {}, ...body)));
}

// Equal operators of equal time are one point.
function gather(points) {
  const found = new Map();
  for (const [node, op, macs, size, us] of points) {
    if (!(macs > 0 && size > 0 && us > 0)) continue;
    const signature = node >= 0 ? data.nodes[node][2].replace(/^[^/]*\//, "") : "";
    const key = [op, signature, macs, size, us].join("|");
    const known = found.get(key);
    if (known) known.count++;
    else found.set(key, { op, signature, macs, bytes: size, us, count: 1, x: macs / size, y: macs / us });
  }
  return [...found.values()].sort((a, b) => b.macs - a.macs);
}

function ticks(low, high) {
  const found = [];
  const wide = high / low > 2000 ? [1] : high / low > 40 ? [1, 3] : [1, 2, 5];
  for (let power = 10 ** Math.floor(Math.log10(low)); power <= high; power *= 10) {
    for (const factor of wide) if (factor * power >= low && factor * power <= high) found.push(factor * power);
  }
  return found;
}

const plain = (value) => Number(value.toPrecision(2)).toString();

function legend(ops) {
  return html("ul", { class: "legend" }, ...ops.map((op, kind) => {
    const mark = MARKS[kind % MARKS.length](8, 8, 6);
    mark.setAttribute("class", opFill(op));
    return html("li", {}, svg("svg", { width: 16, height: 16, "aria-hidden": "true" }, mark), op);
  }));
}
