// The table of operators: sorted, filtered, a page at a time.

const PAGE = 25;

function drawOperators() {
  const place = byId("operators-table"), search = byId("operators-find"), count = byId("operators-count");
  if (!data.nodes.length) {
    place.textContent = "This report has no graph.";
    search.parentElement.parentElement.remove();
    return;
  }
  const columns = [
    ["#", (i) => i],
    ["Operator", (i) => data.nodes[i][0]],
    ["Type", (i) => data.nodes[i][1]],
    ["Result", (i) => data.nodes[i][3].reduce((a, b) => a * b, 1)],
    ["Device", (i) => deviceOf(chosen(), i)],
    ...data.devices.map(([, title], device) => [title, (i) => data.nodes[i][4][device] ?? -1]),
  ];
  const explained = data.schedules.some((schedule) => schedule.elsewhere);
  if (explained) columns.push(["Margin", (i) => margin(chosen(), i) ?? -1]);
  // What limits an operator on the PIM, by its number.
  const limits = new Map((data.roofline?.points ?? []).map((point) => [point[0], data.roofline.limits[point[7]] ?? point[7]]));
  if (limits.size) columns.push(["On the PIM limited by", (i) => limits.get(i) ?? ""]);
  let order = { column: 0, down: false }, shown = PAGE, opened = -1;

  function draw() {
    const wanted = search.value.trim().toLowerCase();
    const rows = data.nodes.map((_, i) => i).filter((i) => {
      const device = data.devices[deviceOf(chosen(), i)]?.[1] ?? "";
      return `${data.nodes[i][0]} ${data.nodes[i][1]} ${device}`.toLowerCase().includes(wanted);
    });
    const key = columns[order.column][1];
    rows.sort((a, b) => {
      const [x, y] = [key(a), key(b)];
      return (x < y ? -1 : x > y ? 1 : a - b) * (order.down ? -1 : 1);
    });
    const head = html("tr", {}, ...columns.map(([title], column) => {
      const sorted = order.column === column;
      const button = html("button", { type: "button" }, title + (sorted ? (order.down ? " ▾" : " ▴") : ""));
      button.addEventListener("click", () => {
        order = { column, down: sorted ? !order.down : column > 3 && title !== "Margin" };
        draw();
        place.querySelectorAll("thead button")[column].focus();
      });
      const number = column === 0 || column === 3 || title === "Margin" || (column > 4 && column < 5 + data.devices.length);
      return html("th", { scope: "col", class: "sortable" + (number ? " num" : ""), "aria-sort": sorted ? (order.down ? "descending" : "ascending") : "none" }, button);
    }));
    const body = html("tbody", {}, ...rows.slice(0, shown).flatMap(rowsOf));
    place.replaceChildren(html("table", {}, html("thead", {}, head), body));
    count.replaceChildren(`${Math.min(shown, rows.length)} of ${quantity(rows.length, "operator")}. `);
    if (rows.length > shown) {
      for (const [title, more] of [["Show more", shown + 4 * PAGE], ["Show all", rows.length]]) {
        const button = html("button", { type: "button" }, title);
        button.addEventListener("click", () => {
          shown = more;
          draw();
        });
        count.append(button, " ");
      }
    }
  }

  function rowsOf(i) {
    const row = rowOf(i);
    if (i !== opened) return [row];
    return [row, html("tr", {}, html("td", { class: "why", colspan: columns.length }, describe(i, chosen()), ...why(i, chosen())))];
  }

  function nameOf(i) {
    const button = html("button", { type: "button", class: "link", "aria-expanded": String(i === opened) }, data.nodes[i][0]);
    button.addEventListener("click", () => {
      opened = i === opened ? -1 : i;
      draw();
      place.querySelector(`[data-operator="${i}"] button`)?.focus();
    });
    return button;
  }

  function rowOf(i) {
    const [id, op, , shape, cost, source] = data.nodes[i];
    const here = deviceOf(chosen(), i);
    const [device, title] = data.devices[here] ?? ["", "–"];
    const swatch = KNOWN_LANES.includes(device) ? "dev-" + device : device.includes("+") ? "dev-split" : "op-other";
    const shownCost = (us, d) => (d === here ? costOf(chosen(), i) : us);
    return html("tr", { "data-operator": i }, html("td", { class: "num" }, String(i + 1)), html("th", { scope: "row", class: "cell-name", title: id }, nameOf(i)),
      html("td", {}, op), html("td", { class: "num" }, shape.join("×")),
      html("td", {}, html("span", { class: "swatch " + swatch }), title),
      ...cost.map((us, d) => html("td", { class: "num" + (d === here ? " here" : ""), title: source[d] }, time(shownCost(us, d)))),
      ...(explained ? [html("td", { class: "num" }, marginText(chosen(), i))] : []),
      ...(limits.size ? [html("td", {}, limits.get(i) ?? "")] : []));
  }

  search.addEventListener("input", () => {
    shown = PAGE;
    draw();
  });
  listeners.push(draw);
}
