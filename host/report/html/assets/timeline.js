// Strips that compare all schedules on one scale, and the lanes of the chosen one.

const ROW = 44, AXIS = 26;

function drawTimeline() {
  const view = byId("timeline-view"), detail = byId("timeline-detail");
  const longest = Math.max(0, ...data.schedules.map((s) => end(s)));
  if (!longest) {
    view.textContent = "There are no executed times in this report: its device has no clock.";
    byId("strips").remove();
    detail.remove();
    return;
  }
  drawStrips(longest);
  const used = data.lanes.map((_, lane) => data.schedules.some((s) => s.timeline.some((t) => t[0] === lane)));
  const rows = data.lanes.map((_, lane) => lane).filter((lane) => used[lane] || lane < 4);
  let from = 0, to = 1, segments = [];
  const label = () => (view.clientWidth < 600 ? 0 : 112);
  const room = () => Math.max(50, view.clientWidth - label() - 8);

  function draw() {
    const left = label(), width = room(), perUs = width / (to - from);
    const lift = left ? 0 : 18;
    const row = ROW + lift;
    const root = svg("svg", { width: view.clientWidth, height: rows.length * row + AXIS });
    const gap = step(to - from, width / 110);
    for (let t = Math.ceil(from / gap) * gap; t <= to; t += gap) {
      const x = left + (t - from) * perUs;
      root.append(svg("line", { class: "grid", x1: x, x2: x, y1: 0, y2: rows.length * row }));
      const anchor = x < left + 20 ? "start" : x > left + width - 30 ? "end" : "middle";
      root.append(svg("text", { class: "axis", x, y: rows.length * row + 18, "text-anchor": anchor }, axisTime(t, gap)));
    }
    const texts = svg("g"), frames = svg("g");
    rows.forEach((lane, place) => {
      root.append(svg("text", { class: "lane-label", x: left ? 4 : 2, y: place * row + (left ? ROW / 2 + 4 : 13) }, data.lanes[lane][1]));
      root.append(svg("line", { class: "grid", x1: 0, x2: view.clientWidth, y1: (place + 1) * row, y2: (place + 1) * row }));
    });
    for (const [first, second] of pairs()) {
      const start = first[1], stop = Math.max(first[1] + first[2], second[1] + second[2]);
      if (start > to || stop < from) continue;
      const x = left + (Math.max(start, from) - from) * perUs;
      const w = (Math.min(stop, to) - Math.max(start, from)) * perUs;
      const places = [rows.indexOf(first[0]), rows.indexOf(second[0])];
      const y = Math.min(...places) * row + lift + 3;
      if (w > 2) frames.append(svg("rect", { class: "together", x, y, width: w, height: Math.abs(places[1] - places[0]) * row + ROW - 6 }));
    }
    root.append(frames);
    segments.forEach(([lane, start, us, node], i) => {
      if (start > to || start + us < from) return;
      const x = left + (Math.max(start, from) - from) * perUs;
      const w = Math.max(0.9, (Math.min(start + us, to) - Math.max(start, from)) * perUs);
      const y = rows.indexOf(lane) * row + lift + 6;
      root.append(svg("rect", { class: (w > 4 ? "segment wide " : "segment ") + fill(data.lanes[lane][0]), x, y, width: w, height: ROW - 12, "data-segment": i }));
      const name = node >= 0 ? data.nodes[node][1] : "";
      if (name && w > name.length * 6.4 + 8) {
        texts.append(svg("text", { class: "segment-text on-" + data.lanes[lane][0], x: x + 5, y: y + (ROW - 12) / 2 + 4 }, name));
      }
    });
    root.append(texts);
    view.replaceChildren(root);
    detail.textContent = `${chosen().title}: ${quantity(segments.length, "step")}, ${time(end(chosen()))}; shown: ${time(from)} to ${time(to)}`;
  }

  // The two parts of every split operator, which begin together.
  function pairs() {
    const parts = new Map();
    for (const segment of segments) {
      if (chosen().splits[segment[3]]) parts.set(segment[3], [...(parts.get(segment[3]) ?? []), segment]);
    }
    return [...parts.values()].filter((both) => both.length === 2);
  }

  function show(start, stop) {
    const whole = end(chosen());
    const span = Math.min(whole, Math.max(stop - start, whole / 20000));
    from = Math.min(Math.max(0, start), whole - span);
    to = from + span;
    draw();
  }
  const zoom = (factor, at = (from + to) / 2) => show(at - (at - from) * factor, at + (to - at) * factor);
  const fit = () => show(0, end(chosen()));
  const pan = (share) => show(from + (to - from) * share, to + (to - from) * share);

  onZoom("timeline", { in: () => zoom(0.5), out: () => zoom(2), fit });
  view.addEventListener("keydown", (event) => {
    const actions = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), 0: fit, ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2) };
    if (!actions[event.key]) return;
    event.preventDefault();
    actions[event.key]();
  });
  view.addEventListener("wheel", (event) => {
    if (!event.ctrlKey) return;
    event.preventDefault();
    const x = event.clientX - view.getBoundingClientRect().left - label();
    zoom(Math.exp(event.deltaY / 250), from + (x / room()) * (to - from));
  }, { passive: false });
  let last = null;
  view.addEventListener("pointerdown", (event) => { last = event.clientX; });
  addEventListener("pointermove", (event) => {
    if (last === null || !event.buttons) return;
    const us = ((last - event.clientX) / room()) * (to - from);
    last = event.clientX;
    if (us) show(from + us, to + us);
  });
  for (const name of ["pointerup", "pointercancel"]) addEventListener(name, () => { last = null; });
  tips(view, (target) => {
    const index = target.dataset?.segment;
    if (index === undefined) return null;
    const [lane, start, us, node, , name] = segments[index];
    const what = name || (node >= 0 ? `${data.nodes[node][0]} · ${data.nodes[node][1]}` : "");
    const split = chosen().splits[node];
    return `${what}\n${data.lanes[lane][1]}: ${time(us)}\nfrom ${time(start)}` + (split ? `\n${splitText(split)}` : "");
  });
  new ResizeObserver(draw).observe(view);
  listeners.push(() => {
    segments = chosen().timeline;
    fit();
  });
}

function end(schedule) {
  return schedule.timeline.reduce((latest, [, start, us]) => Math.max(latest, start + us), 0);
}

function axisTime(us, gap) {
  const [scale, unit] = gap >= 1e5 ? [1e6, "s"] : gap >= 100 ? [1e3, "ms"] : [1, "µs"];
  const digits = Math.max(0, -Math.floor(Math.log10(gap / scale) + 1e-9));
  return (us / scale).toFixed(digits) + " " + unit;
}

// Times are rounded to a nanosecond, so a step may seem to begin that much before the last one ends.
function overlaps(schedule) {
  let until = 0;
  return schedule.timeline.some(([, start, us]) => {
    const early = start < until - 1.5e-3;
    until = Math.max(until, start + us);
    return early;
  });
}

function drawStrips(longest) {
  const strips = byId("strips");
  data.schedules.forEach((schedule, index) => {
    const bar = svg("svg", { viewBox: "0 0 1000 16", preserveAspectRatio: "none", "aria-hidden": "true" });
    // Neighbours of one lane are one rectangle: a strip shows who works, not every operator. Where
    // lanes work at the same time, each has its part of the height.
    const used = [...new Set(schedule.timeline.map(([lane]) => lane))].sort((a, b) => a - b);
    const rows = overlaps(schedule) ? used.map((lane) => [lane]) : [used];
    rows.forEach((lanes, row) => {
      let run = null;
      const close = () => run && bar.append(svg("rect", { class: fill(data.lanes[run[0]][0]), x: (run[1] / longest) * 1000, width: ((run[2] - run[1]) / longest) * 1000, y: (row * 16) / rows.length, height: 16 / rows.length }));
      for (const [lane, start, us] of schedule.timeline) {
        if (!lanes.includes(lane)) continue;
        if (run && run[0] === lane && start - run[2] < 1e-3 + 1e-6 * longest) run[2] = start + us;
        else {
          close();
          run = [lane, start, start + us];
        }
      }
      close();
    });
    const button = html("button", { type: "button", class: "strip", "aria-pressed": "false" },
      html("span", {}, schedule.title), bar, html("span", { class: "us" }, time(schedule.us)));
    button.addEventListener("click", () => choose(index));
    strips.append(button);
  });
  listeners.push(() => [...strips.children].forEach((button, index) => {
    button.setAttribute("aria-pressed", String(index === state.schedule));
  }));
}
