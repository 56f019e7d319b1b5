"use strict";
// Text and attributes are set, markup never: whatever a run's folder says stays text.

const data = JSON.parse(document.getElementById("data").textContent);
const WIDTH = 460, HEIGHT = 270, LEFT = 52, RIGHT = 10, TOP = 8, BOTTOM = 24;
const MOST_NAMED = 12, MOST_MATRICES = 24, MOST_COUNTS = 16;
const hidden = new Set();
const redrawn = [];

function fill(made, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else if (value !== null) made.setAttribute(name, value);
  }
  made.append(...children.filter(child => child !== null));
  return made;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

const PALETTE = ["#3b82d6", "#e8710a", "#1f9d6b", "#d6409f", "#8b5cf6", "#c9a227", "#12a5b8", "#e5484d", "#7d8794", "#6b9b1e"];
const colour = run => data.runs.length <= PALETTE.length ? PALETTE[run] : `hsl(${(run * 137.5) % 360} 65% 52%)`;
const shown = () => data.runs.map((_, run) => run).filter(run => !hidden.has(run));

function chip(run) {
  const made = html("span", { class: "chip" });
  made.style.background = colour(run);
  return made;
}

function toggle(run) {
  hidden.has(run) ? hidden.delete(run) : hidden.add(run);
  redrawn.forEach(draw => draw());
}

function focus(run) {
  document.querySelectorAll("svg.chart").forEach(chart => {
    chart.classList.toggle("focus", run !== null);
    chart.querySelectorAll(".curve").forEach(curve =>
      curve.classList.toggle("chosen", curve.dataset.run === String(run)));
  });
}

// ---- the table ----

function before(a, b) {
  if (typeof a === "number" && typeof b === "number") return a - b;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function bestRows(column) {
  const values = column.order.filter(value => typeof value === "number");
  if (!column.better || values.length < 2) return new Set();
  const best = column.better === "lower" ? Math.min(...values) : Math.max(...values);
  return new Set(column.order.flatMap((value, row) => value === best ? [row] : []));
}

function table(columns, ofRuns) {
  const best = columns.map(bestRows);
  const body = html("tbody");
  const heads = columns.map((column, place) => {
    const button = html("button", { onclick: () => sort(place), title: column.about || null }, column.heading);
    return html("th", { scope: "col", class: column.numbers ? "number" : null }, button);
  });
  let sorted = { place: -1, down: false };

  function sort(place) {
    const first = columns[place].better === "higher";
    sorted = { place, down: sorted.place === place ? !sorted.down : first };
    draw();
  }
  function rows() {
    const every = columns[0].cells.map((_, row) => row);
    if (sorted.place < 0) return every;
    const order = columns[sorted.place].order;
    const empty = row => order[row] === null || order[row] === "";
    const sign = sorted.down ? -1 : 1;
    return every.sort((a, b) => empty(a) - empty(b) || (empty(a) ? 0 : sign * before(order[a], order[b])));
  }
  function cell(column, place, row) {
    const text = column.cells[row];
    const state = column.heading === "state" ? `state-${text.replace(/ /g, "-")}` : "";
    const kind = [column.numbers ? "number" : "", best[place].has(row) ? "best" : "", state, column.heading === "note" ? "note" : ""];
    if (!ofRuns || place) return html("td", { class: kind.join(" ") }, text);
    const box = html("input", { type: "checkbox", "aria-label": `draw ${text}`, onchange: () => toggle(row) });
    box.checked = !hidden.has(row);
    return html("td", {}, html("label", {}, box, " ", chip(row), text));
  }
  function draw() {
    heads.forEach((head, place) => place === sorted.place
      ? head.setAttribute("aria-sort", sorted.down ? "descending" : "ascending") : head.removeAttribute("aria-sort"));
    body.replaceChildren(...rows().map(row => html("tr", ofRuns ? {
      class: hidden.has(row) ? "hidden" : null, onmouseenter: () => focus(row), onmouseleave: () => focus(null),
    } : {}, ...columns.map((column, place) => cell(column, place, row)))));
  }
  if (ofRuns) redrawn.push(draw);
  draw();
  return html("div", { class: "wide" }, html("table", {}, html("thead", {}, html("tr", {}, ...heads)), body));
}

// ---- curves ----

function ticks(low, high, count) {
  const raw = (high - low) / count || 1;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].map(factor => factor * power).find(size => size >= raw);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(at);
  return found;
}
const brief = value => Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
  ? value.toExponential(1) : String(+value.toFixed(4));
const precise = value => value === null ? "nan" : Math.abs(value) >= 1e5 || (value && Math.abs(value) < 1e-3)
  ? value.toExponential(3) : value.toFixed(4);

function lines(metrics, unit, training) {
  return shown().flatMap(run => metrics.filter(metric => metric in data.runs[run].curves).map(metric => ({
    run, metric, train: !metric.startsWith("val_"),
    points: data.runs[run].curves[metric].map(([row, value]) => [data.runs[run].x[unit][row], value]),
  }))).filter(line => training || !line.train || metrics.length === 1);
}

function path(points, toX, toY) {
  let pen = "M";
  return points.map(([x, y]) => {
    if (y === null) { pen = "M"; return ""; }
    const part = `${pen}${toX(x).toFixed(1)} ${toY(y).toFixed(1)}`;
    pen = "L";
    return part;
  }).join("");
}

function chart(quantity, metrics, settings) {
  const kinds = metrics.some(metric => metric.startsWith("val_")) ? html("span", { class: "quiet" }, "  ", metrics.join(", ")) : null;
  const card = html("figure", { class: "card" }, html("figcaption", {}, quantity, kinds));
  const place = html("div");
  const tip = html("div", { class: "tip", hidden: "" });
  card.append(place, tip);

  function draw() {
    const drawn = lines(metrics, settings.unit, settings.training);
    const points = drawn.flatMap(line => line.points).filter(point => point[1] !== null);
    if (!points.length) return place.replaceChildren(html("p", { class: "quiet" }, "nothing to draw"));
    const [lowX, highX] = range(points.map(point => point[0])), [lowY, highY] = padded(...range(points.map(point => point[1])));
    const toX = x => LEFT + (x - lowX) / (highX - lowX || 1) * (WIDTH - LEFT - RIGHT);
    const toY = y => HEIGHT - BOTTOM - (y - lowY) / (highY - lowY || 1) * (HEIGHT - TOP - BOTTOM);
    const rule = svg("line", { class: "rule", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    const picture = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": `curves of ${quantity}` },
      ...ticks(lowY, highY, 5).flatMap(y => [
        svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: toY(y), y2: toY(y) }),
        svg("text", { x: LEFT - 6, y: toY(y) + 4, "text-anchor": "end" }, brief(y))]),
      ...ticks(lowX, highX, 6).map(x => svg("text", { x: toX(x), y: HEIGHT - 8, "text-anchor": "middle" }, brief(x))),
      ...drawn.map(line => svg("path", { class: `curve${line.train ? " train" : ""}`, "data-run": line.run,
        stroke: colour(line.run), d: path(line.points, toX, toY) })),
      ...drawn.filter(line => line.points.length === 1 && line.points[0][1] !== null).map(line => svg("circle",
        { cx: toX(line.points[0][0]), cy: toY(line.points[0][1]), r: 3, fill: colour(line.run) })),
      rule);
    picture.addEventListener("pointermove", event => hover(event, picture, drawn, points, toX, toY, rule));
    picture.addEventListener("pointerleave", () => { tip.hidden = true; rule.setAttribute("visibility", "hidden"); });
    place.replaceChildren(picture);
  }
  function hover(event, picture, drawn, points, toX, toY, rule) {
    const box = picture.getBoundingClientRect();
    const mouseX = (event.clientX - box.left) / box.width * WIDTH, mouseY = (event.clientY - box.top) / box.height * HEIGHT;
    const [x] = points.reduce((a, b) => Math.abs(toX(b[0]) - mouseX) < Math.abs(toX(a[0]) - mouseX) ? b : a);
    rule.setAttribute("x1", toX(x));
    rule.setAttribute("x2", toX(x));
    rule.setAttribute("visibility", "visible");
    const found = drawn.flatMap(line => line.points.filter(point => point[0] === x).map(([, y]) => ({ ...line, y })));
    const far = line => line.y === null ? Infinity : Math.abs(toY(line.y) - mouseY);
    found.sort((a, b) => far(a) - far(b));
    const near = found.slice(0, MOST_NAMED).sort((a, b) => b.y - a.y);
    tip.replaceChildren(html("b", {}, `${settings.unit} ${brief(x)}`), html("table", {}, ...near.map(line => html("tr", {},
      html("td", {}, chip(line.run), data.runs[line.run].label), html("td", { class: "quiet" }, line.metric),
      html("td", { class: "number" }, precise(line.y))))));
    if (found.length > near.length) tip.append(`and ${found.length - near.length} more`);
    tip.hidden = false;
    const frame = card.getBoundingClientRect();
    const right = event.clientX - frame.left + 16, below = event.clientY - frame.top + 12;
    tip.style.left = `${right + tip.offsetWidth > frame.width ? Math.max(0, right - tip.offsetWidth - 32) : right}px`;
    tip.style.top = `${mouseY > HEIGHT / 2 ? below - tip.offsetHeight - 24 : below}px`;
  }
  redrawn.push(draw);
  draw();
  return card;
}
const range = values => values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
const padded = (low, high) => low === high ? [low - 0.5, high + 0.5] : [low - (high - low) * 0.04, high + (high - low) * 0.04];

function curves() {
  const settings = { unit: "epoch", training: true };
  const redraw = () => redrawn.forEach(draw => draw());
  const unit = html("select", { onchange: event => { settings.unit = event.target.value; redraw(); } },
    ...["epoch", "step", "minutes"].map(name => html("option", {}, name)));
  const training = html("input", { type: "checkbox", onchange: event => { settings.training = event.target.checked; redraw(); } });
  training.checked = true;
  return [html("div", { class: "bar" }, html("label", {}, "over ", unit), html("label", {}, training, " training (dashed)")),
    legend(), html("div", { class: "cards" }, ...Object.entries(data.charts).map(([name, metrics]) => chart(name, metrics, settings)))];
}

function legend() {
  const list = html("ul", { class: "legend" });
  const draw = () => list.replaceChildren(...data.runs.map((run, number) => html("li", {}, html("button", {
    "aria-pressed": String(!hidden.has(number)), onclick: () => toggle(number),
    onmouseenter: () => focus(number), onmouseleave: () => focus(null),
  }, chip(number), run.described))));
  redrawn.push(draw);
  draw();
  return list;
}

// ---- confusion matrices ----

function matrix(run, name, { classes, counts }) {
  const totals = counts.map(row => row.reduce((a, b) => a + b, 0));
  const right = counts.reduce((sum, row, place) => sum + row[place], 0), all = totals.reduce((a, b) => a + b, 0);
  const cell = (count, row, column) => {
    const made = html("td", { title: `${classes[row]} taken for ${classes[column]}: ${count} of ${totals[row]}` },
      count && classes.length <= MOST_COUNTS ? String(count) : "");
    const share = Math.round(100 * Math.sqrt(count / (totals[row] || 1)));
    made.style.background = `color-mix(in srgb, var(--${row === column ? "good" : "bad"}) ${share * 0.75}%, transparent)`;
    return made;
  };
  return html("figure", { class: "card" },
    html("figcaption", {}, chip(run), data.runs[run].described, html("span", { class: "quiet" }, `  ${name}: ${right} of ${all} right; a row is a true class`)),
    html("div", { class: "wide" }, html("table", { class: "matrix" },
      html("thead", {}, html("tr", {}, html("th"), ...classes.map(label => html("th", { title: label }, label)))),
      html("tbody", {}, ...counts.map((row, place) => html("tr", {}, html("th", { title: classes[place] }, classes[place]),
        ...row.map((count, column) => cell(count, place, column))))))));
}

function matrices() {
  const cards = html("div", { class: "cards" });
  const draw = () => cards.replaceChildren(...shown().flatMap(run => Object.entries(data.runs[run].confusion)
    .map(([name, found]) => matrix(run, name, found))).slice(0, MOST_MATRICES));
  redrawn.push(draw);
  draw();
  return cards;
}

// ---- two runs ----

function differences() {
  const place = html("div", { class: "wide" });
  const choose = start => {
    const select = html("select", { onchange: () => draw() }, ...data.runs.map((run, number) => html("option", { value: number }, run.described)));
    select.value = start;
    return select;
  };
  const a = choose(0), b = choose(Math.min(1, data.runs.length - 1));
  const draw = () => {
    const sides = [a, b].map(select => data.runs[select.value].facts);
    const keys = data.facts.filter(key => sides[0][key] !== sides[1][key]);
    place.replaceChildren(keys.length ? html("table", {},
      html("thead", {}, html("tr", {}, html("th", {}, "key"), html("th", {}, "A"), html("th", {}, "B"))),
      html("tbody", {}, ...keys.map(key => html("tr", {}, html("td", {}, key), ...sides.map(side => html("td", {}, side[key] ?? ""))))))
      : html("p", { class: "quiet" }, "no difference in config, commit or environment"));
  };
  draw();
  return [html("div", { class: "bar" }, html("label", {}, "A ", a), html("label", {}, "B ", b)), place];
}

// ---- the page ----

const section = (title, ...parts) => html("section", {}, html("h2", {}, title), ...parts);
const words = lines_ => lines_.map(line => html("p", { class: "quiet" }, line));
document.querySelector("main").append(
  html("h1", {}, data.title),
  html("p", { class: "quiet" }, `${data.runs.length} runs. A click on a heading sorts, a tick draws a run.`),
  table(data.table, true),
  ...words(data.problems),
  ...(data.groups.length ? [section("Seeds and folds", table(data.groups, false), ...words(data.verdicts))] : []),
  ...(Object.keys(data.charts).length ? [section("Curves", ...curves())] : []),
  ...(data.runs.some(run => Object.keys(run.confusion).length) ? [section("Confusion", matrices())] : []),
  ...(data.runs.length > 1 ? [section("What differs", ...differences())] : []),
);
