// Which device each operator had in each profile run: a strip for each run in every layer's row.

function drawMatrix() {
  const view = byId("matrix-view");
  if (!view) return;
  if (!data.runs.length || !data.nodes.length) {
    view.textContent = "The runs are not in this report.";
    return;
  }
  const most = Math.max(...data.groups.map((g) => g[2]));

  function draw() {
    const wide = view.clientWidth >= 600;
    const left = wide ? 100 : 62, cell = Math.min(26, (view.clientWidth - left - 4) / most);
    const strip = wide ? 9 : 8, row = data.runs.length * (strip + 1) + 9;
    const root = svg("svg", { width: view.clientWidth, height: data.groups.length * row + 20, role: "img", "aria-label": "Device of every operator in every profile run" });
    root.append(svg("text", { class: "axis", x: left, y: 11 }, `each row of cells is a run: ${data.runs[0].name} to ${data.runs.at(-1).name}`));
    data.groups.forEach(([title, first, count], g) => {
      const top = 20 + g * row;
      root.append(svg("text", { class: "axis", x: 0, y: top + row / 2 }, title));
      data.runs.forEach((run, r) => {
        for (let i = 0; i < count; i++) {
          const device = data.devices[deviceOf(run, first + i)]?.[0];
          root.append(svg("rect", { class: fill(device), x: left + i * cell, y: top + r * (strip + 1), width: Math.max(0.5, cell - (cell > 4 ? 1 : 0)), height: strip, "data-cell": `${r},${first + i}` }));
        }
      });
    });
    view.replaceChildren(root);
  }
  new ResizeObserver(draw).observe(view);
  tips(view, (target) => {
    const cell = target.dataset?.cell;
    if (!cell) return null;
    const [run, node] = cell.split(",").map(Number);
    return `${data.runs[run].name}\n${describe(node, data.runs[run])}`;
  });
}
