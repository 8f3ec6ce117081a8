// The model graph: a row for each layer; places come from host/html/layout.py.

const PITCH = 64, LANE = 36, BOX = { w: 51, h: 25 }, MARGIN = { left: 138, top: 26, gutter: 46 };

function drawGraph() {
  const view = byId("graph-view");
  if (!data.nodes.length) {
    view.textContent = "This report has no graph.";
    return;
  }
  const width = MARGIN.left + Math.max(...data.groups.map((g) => g[3])) * PITCH + 24;
  const tops = [];
  let height = MARGIN.top;
  for (const group of data.groups) {
    tops.push(height);
    height += group[4] * LANE + MARGIN.gutter;
  }
  const centre = (node) => {
    const [row, column, lane] = data.places[node];
    return [MARGIN.left + column * PITCH + BOX.w / 2, tops[row] + lane * LANE + LANE / 2];
  };
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "presentation" });
  const lines = svg("g"), boxes = svg("g");
  data.groups.forEach(([title, , count], row) => {
    const y = tops[row];
    if (row) lines.append(svg("line", { class: "row-line", x1: 0, x2: width, y1: y - 23, y2: y - 23 }));
    lines.append(svg("text", { class: "row-title", x: 8, y: y + 24 }, title));
    lines.append(svg("title", {}, `${title}: ${quantity(count, "operator")}`));
  });
  root.append(lines, boxes);
  view.replaceChildren(root);

  const edges = data.edges
    .filter(([from, to]) => from >= 0 && to >= 0)
    .map(([from, to, tensor]) => {
      const path = svg("path", { d: route(from, to, centre, tops), class: "edge" });
      lines.append(path);
      return { from, to, tensor, path, across: data.places[from][0] !== data.places[to][0] };
    });
  const nodes = data.nodes.map(([, op], node) => {
    const [x, y] = centre(node);
    const box = svg("rect", { class: "box", x: x - BOX.w / 2, y: y - BOX.h / 2, width: BOX.w, height: BOX.h });
    const inner = svg("rect", { class: "inner", x: x - BOX.w / 2 + 2.5, y: y - BOX.h / 2 + 2.5, width: BOX.w - 5, height: BOX.h - 5 });
    const share = svg("rect", { class: "share", x: x - BOX.w / 2 + 6, y: y + BOX.h / 2 - 4, height: 3 });
    const group = svg("g", { "data-node": node }, box, inner,
      svg("text", { class: op.length > 8 ? "name long" : "name", x, y: y - 1 }, op.length > 11 ? op.slice(0, 10) + "…" : op),
      svg("text", { class: "code", x, y: y - 1 }, data.codes[op]), share);
    boxes.append(group);
    return { group, box, inner, share };
  });

  let selected = -1, found = null;

  function colour() {
    const schedule = chosen();
    const costs = data.nodes.map((_, i) => costOf(schedule, i) ?? 0);
    const longest = Math.max(...costs) || 1;
    nodes.forEach(({ group, box, inner, share }, i) => {
      const device = data.devices[deviceOf(schedule, i)]?.[0];
      box.setAttribute("rx", device === "pim" ? BOX.h / 2 : device === "cpu_serial" || device === "cpu_parallel" ? 2 : 8);
      inner.setAttribute("visibility", device === "cpu_parallel" ? "visible" : "hidden");
      share.setAttribute("width", ((BOX.w - 12) * costs[i]) / longest);
      const dim = found && !found.has(i) ? " dim" : "";
      group.setAttribute("class", "node " + fill(device) + (i === selected ? " selected" : "") + dim);
    });
    for (const { from, to, path, across } of edges) {
      const whole = wholeIn(schedule, from);
      const moved = memoriesOf(schedule, to).some((memory) => memory !== whole);
      const touched = from === selected || to === selected;
      path.setAttribute("class", "edge" + (across ? " across" : "") + (moved ? " moved" : "") +
        (touched ? " touched" : "") + (found && !found.has(from) && !found.has(to) ? " dim" : ""));
    }
    byId("graph-detail").replaceChildren(...(selected < 0
      ? ["Choose an operator to keep its costs here."]
      : [[describe(selected, schedule), moves(selected, schedule)].filter(Boolean).join("\n"), ...why(selected, schedule)]));
  }

  function moves(node, schedule) {
    const lines = [];
    for (const [from, to, tensor, size, up, down] of data.edges) {
      if (to !== node) continue;
      const whole = wholeIn(schedule, from), gather = schedule.splits?.[from]?.[1];
      for (const memory of memoriesOf(schedule, to)) {
        if (memory === whole) continue;
        const us = gather ? gather[memory] : { pim: up, cpu: down }[memory];
        const how = gather ? `${data.tensors[tensor]}, gathered in memory ${memory}` : `${data.tensors[tensor]} from the other memory: ${bytes(size)}`;
        lines.push(`reads ${how}, ${time(us)} where no earlier operator brought it`);
      }
    }
    return lines.join("\n");
  }

  function select(node, reveal) {
    selected = node;
    colour();
    if (node < 0 || !reveal) return;
    const [x, y] = centre(node).map((value) => value * scale);
    if (x < view.scrollLeft + 40 || x > view.scrollLeft + view.clientWidth - 40) view.scrollLeft = x - view.clientWidth / 2;
    if (y < view.scrollTop + 40 || y > view.scrollTop + view.clientHeight - 40) view.scrollTop = y - view.clientHeight / 2;
  }

  // Zooming changes the size of the drawing; moving about is plain scrolling.
  let scale = 1;
  function zoomTo(wanted, x = view.clientWidth / 2, y = view.clientHeight / 2) {
    const next = Math.min(3, Math.max(0.12, wanted));
    const [left, top] = [(view.scrollLeft + x) / scale, (view.scrollTop + y) / scale];
    scale = next;
    root.setAttribute("width", width * scale);
    root.setAttribute("height", height * scale);
    root.classList.toggle("far", scale < 0.8);
    view.scrollLeft = left * scale - x;
    view.scrollTop = top * scale - y;
  }
  const fit = () => zoomTo(Math.min(1.2, Math.max(0.12, view.clientWidth / width)));

  onZoom("graph", { in: () => zoomTo(scale * 1.3), out: () => zoomTo(scale / 1.3), fit });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const box = view.getBoundingClientRect();
    zoomTo(scale * Math.exp(-event.deltaY / 300), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  dragToScroll(view);
  tips(view, (target) => {
    const node = target.closest("[data-node]");
    if (!node) return null;
    const index = Number(node.dataset.node), us = margin(chosen(), index);
    return describe(index, chosen()) + (us === null ? "" : `\nmargin: ${marginText(chosen(), index)}`);
  });
  view.addEventListener("click", (event) => {
    const node = event.target.closest("[data-node]");
    select(node ? Number(node.dataset.node) : -1, false);
  });
  view.addEventListener("keydown", (event) => {
    const keys = { ArrowRight: 1, ArrowLeft: -1 };
    if (event.key in keys) {
      select(Math.min(nodes.length - 1, Math.max(0, selected + keys[event.key])), true);
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      select(besideRow(selected, event.key === "ArrowDown" ? 1 : -1), true);
    } else if (event.key === "+" || event.key === "=") zoomTo(scale * 1.3);
    else if (event.key === "-") zoomTo(scale / 1.3);
    else if (event.key === "0") fit();
    else if (event.key === "Escape") select(-1, false);
    else return;
    event.preventDefault();
  });
  byId("graph-find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    found = wanted ? new Set(data.nodes.flatMap(([id, op], i) => ((id + " " + op).toLowerCase().includes(wanted) ? [i] : []))) : null;
    colour();
    if (found?.size) select(Math.min(...found), true);
  });
  listeners.push(colour);
  byId("graph-codes").append("Codes:", ...Object.entries(data.codes).flatMap(([op, code]) => [html("b", {}, code), " " + op]));
  fit();
  if (view.clientWidth / width < 0.4) zoomTo(0.5, 0, 0);
}

// The operator of the next or previous row that stands nearest to the same column.
function besideRow(node, direction) {
  if (node < 0) return 0;
  const [row, column] = data.places[node];
  const group = data.groups[row + direction];
  if (!group) return node;
  let best = group[1];
  for (let i = group[1]; i < group[1] + group[2]; i++) {
    if (Math.abs(data.places[i][1] - column) < Math.abs(data.places[best][1] - column)) best = i;
  }
  return best;
}

// The line of an edge: straight to a neighbour, an arc over what lies between, or along the gutters
// between rows and the left margin to another row.
function route(from, to, centre, tops) {
  const [x1, y1] = centre(from), [x2, y2] = centre(to);
  const [rowA, columnA, laneA] = data.places[from], [rowB, columnB, laneB] = data.places[to];
  const half = BOX.w / 2, r = 8;
  if (rowA === rowB) {
    if (laneA === laneB && columnB - columnA === 1) return `M${x1 + half} ${y1}H${x2 - half}`;
    if (laneA === laneB) {
      const lift = Math.min(15, 6 + (columnB - columnA) * 1.2) + BOX.h / 2;
      return `M${x1 + half - 10} ${y1 - BOX.h / 2}C${x1 + half + 8} ${y1 - lift} ${x2 - half - 8} ${y2 - lift} ${x2 - half + 10} ${y2 - BOX.h / 2}`;
    }
    const reach = Math.min(PITCH, (x2 - x1 - BOX.w) / 2 + 10);
    return `M${x1 + half} ${y1}C${x1 + half + reach} ${y1} ${x2 - half - reach} ${y2} ${x2 - half} ${y2}`;
  }
  const below = tops[rowA] + data.groups[rowA][4] * LANE + 10;
  const above = tops[rowB] - 13;
  const start = `M${x1} ${y1 + BOX.h / 2}V${below - r}`;
  const turn = x2 < x1 ? -1 : 1;
  const end = `V${y2 - BOX.h / 2}`;
  if (rowB === rowA + 1) {
    return `${start}Q${x1} ${below} ${x1 + turn * r} ${below}H${x2 - turn * r}Q${x2} ${below} ${x2} ${below + r}${end}`;
  }
  const margin = MARGIN.left - 14;
  return `${start}Q${x1} ${below} ${x1 - r} ${below}H${margin + r}Q${margin} ${below} ${margin} ${below + r}` +
    `V${above - r}Q${margin} ${above} ${margin + r} ${above}H${x2 - r}Q${x2} ${above} ${x2} ${above + r}${end}`;
}

function onZoom(target, actions) {
  document.querySelector(`[data-zoom="${target}"]`).addEventListener("click", (event) => {
    actions[event.target.dataset.do]?.();
  });
}

// A mouse drags the drawing; fingers scroll it anyway.
function dragToScroll(view) {
  let last = null, travelled = 0;
  view.addEventListener("pointerdown", (event) => {
    if (event.pointerType === "mouse" && event.button === 0) [last, travelled] = [event, 0];
  });
  addEventListener("pointermove", (event) => {
    if (!last) return;
    travelled += Math.abs(event.clientX - last.clientX) + Math.abs(event.clientY - last.clientY);
    view.scrollLeft -= event.clientX - last.clientX;
    view.scrollTop -= event.clientY - last.clientY;
    view.classList.toggle("dragging", travelled > 4);
    last = event;
  });
  addEventListener("pointerup", () => {
    last = null;
    view.classList.remove("dragging");
  });
  view.addEventListener("click", (event) => {
    if (travelled > 4) event.stopPropagation();
    travelled = 0;
  }, true);
}
