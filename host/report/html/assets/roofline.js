// The roofline of the PIM operators, both axes logarithmic.

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
    view.textContent = "No operator ran on a PIM with a clock in this report.";
    return;
  }
  const ops = [...new Set(points.map((p) => p.op))];
  const roof = (x) => Math.min(roofline.peak, x * roofline.bandwidth);
  const ridge = roofline.peak / roofline.bandwidth;
  const xs = [...points.flatMap((p) => [p.x, p.ideal].filter((x) => x !== null)), ridge];
  const ys = [...points.map((p) => p.y), roofline.peak];
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
    root.append(svg("text", { class: "axis", x: (left + right) / 2, y: height - 6, "text-anchor": "middle" }, width < 480 ? "multiply-adds a byte of DRAM traffic" : "multiply-adds per byte read or written in the DRAM, as counted"));
    root.append(svg("text", { class: "axis", transform: `translate(12 ${(top + bottom) / 2}) rotate(-90)`, "text-anchor": "middle" }, "billion multiply-adds a second"));
    root.append(svg("path", { class: "roof", d: `M${px(x0)} ${py(roof(x0))}L${px(ridge)} ${py(roofline.peak)}H${right}` }));
    root.append(svg("text", { class: "axis", x: right - 4, y: py(roofline.peak) - 7, "text-anchor": "end" }, `all lanes: ${number(roofline.peak / 1e3)} billion/s`));
    const low = [px(x0), py(roof(x0))], high = [px(ridge), py(roofline.peak)];
    const angle = (Math.atan2(high[1] - low[1], high[0] - low[0]) * 180) / Math.PI;
    const along = [low[0] + (high[0] - low[0]) * 0.3, low[1] + (high[1] - low[1]) * 0.3];
    root.append(svg("text", { class: "axis", transform: `translate(${along[0]} ${along[1]}) rotate(${angle}) translate(0 -7)`, "text-anchor": "middle" }, `DRAM: ${number(roofline.bandwidth / 1e3)} GB/s`));
    points.forEach((point, i) => {
      const kind = ops.indexOf(point.op), size = 5 + Math.min(4, Math.log2(point.count));
      const place = MARKS[kind % MARKS.length];
      if (point.ideal !== null && (point.x === null || point.ideal > point.x * 1.02)) {
        if (point.x !== null) root.append(svg("line", { class: "to-ideal", x1: px(point.x), x2: px(point.ideal), y1: py(point.y), y2: py(point.y) }));
        const ideal = place(px(point.ideal), py(point.y), 4);
        ideal.setAttribute("class", "ideal");
        ideal.setAttribute("data-point", i);
        root.append(ideal);
      }
      if (point.x === null) return;
      const mark = place(px(point.x), py(point.y), size);
      mark.setAttribute("class", "point " + opFill(point.op));
      mark.setAttribute("data-point", i);
      root.append(mark);
    });
    view.replaceChildren(root, legend(ops));
  }
  new ResizeObserver(draw).observe(view);
  tips(view, (target) => {
    const point = points[target.dataset?.point];
    if (!point) return point;
    const lines = [`${point.count} × ${point.op} ${point.signature}`, `${time(point.us)} each, ${number(point.y / 1e3)} billion multiply-adds a second while its lists run`];
    if (point.x !== null) {
      lines.push(`${number((1e2 * point.y) / roof(point.x))} % of the roof at ${number(point.x)} multiply-adds a byte`);
      lines.push(`${number(point.rate / 1e3)} GB/s, ${number((1e2 * point.rate) / roofline.bandwidth)} % of the DRAM's peak`);
    }
    if (point.ideal !== null) lines.push(`${number(point.ideal)} multiply-adds a byte if every operand moved once`);
    if (point.limit) lines.push("limited by: " + point.limit);
    return lines.join("\n");
  });
}

// Equal operators of equal time are one point.
function gather(points) {
  const found = new Map();
  for (const [node, op, macs, counted, once, us, device, limit] of points) {
    if (!(macs > 0 && us > 0)) continue;
    const signature = node >= 0 ? data.nodes[node][2].replace(/^[^/]*\//, "") : "";
    const key = [op, signature, macs, counted, us].join("|");
    const known = found.get(key);
    const y = macs / (device || us);
    if (known) known.count++;
    else {
      found.set(key, {
        op, signature, us, y, count: 1, macs,
        x: counted > 0 ? macs / counted : null,
        ideal: once > 0 ? macs / once : null,
        rate: counted > 0 ? counted / (device || us) : null,
        limit: data.roofline.limits[limit] ?? limit,
      });
    }
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
  const entries = ops.map((op, kind) => [op, opFill(op), kind]);
  entries.push(["at the bytes of each operand once", "ideal", 0]);
  return html("ul", { class: "legend" }, ...entries.map(([text, style, kind]) => {
    const mark = MARKS[kind % MARKS.length](8, 8, style === "ideal" ? 4 : 6);
    mark.setAttribute("class", style);
    return html("li", {}, svg("svg", { width: 16, height: 16, "aria-hidden": "true" }, mark), text);
  }));
}
