// One map: points on a canvas, found by hovering, searching and choosing a genre.
// It is a page's only script, it loads nothing, and it touches only the element that it is given.
"use strict";
function showMap(root) {
  const map = JSON.parse(root.querySelector("script[type='application/json']").textContent);
  const canvas = root.querySelector("canvas");
  const tip = root.querySelector(".map-tip");
  const search = root.querySelector("input[type=search]");
  const choice = root.querySelector("select");
  const counted = root.querySelector(".map-count");
  const context = canvas.getContext("2d");
  const count = map.names.length;
  const lowered = map.names.map((name) => name.toLowerCase());
  const mostRated = Math.max(1, ...map.ratings);
  const radius = map.ratings.map((ratings) => 2 + 4 * Math.sqrt(ratings / mostRated));
  // The most rated come last, so that they lie on top; labels are tried for them first.
  const order = map.ratings.map((_, point) => point).sort((a, b) => map.ratings[a] - map.ratings[b]);
  let view = { scale: 1, x: 0, y: 0 };
  let shown = new Array(count).fill(true);
  let hovered = -1;
  let drag = null;

  const tags = new Map();
  for (const each of map.tags) for (const tag of each) tags.set(tag, (tags.get(tag) || 0) + 1);
  for (const [tag, number] of [...tags].sort((a, b) => a[0].localeCompare(b[0]))) {
    choice.add(new Option(`${tag} (${number})`, tag));
  }

  const size = () => [canvas.clientWidth, canvas.clientHeight];
  function place(point) {
    const [width, height] = size();
    return [
      (map.x[point] * 0.94 + 0.03) * width * view.scale + view.x,
      (map.y[point] * 0.94 + 0.03) * height * view.scale + view.y,
    ];
  }

  function draw() {
    const [width, height] = size();
    const ratio = window.devicePixelRatio || 1;
    canvas.width = Math.round(width * ratio);
    canvas.height = Math.round(height * ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.clearRect(0, 0, width, height);
    context.globalAlpha = 0.12;
    for (const point of order) if (!shown[point]) dot(point, "#8a93a0", 0.8);
    context.globalAlpha = 0.78;
    for (const point of order) if (shown[point]) dot(point, map.colors[map.groups[point]], 1);
    context.globalAlpha = 1;
    label(width, height);
    if (hovered >= 0) {
      context.lineWidth = 2;
      context.strokeStyle = style("--ink");
      const [x, y] = place(hovered);
      context.beginPath();
      context.arc(x, y, radius[hovered] + 4, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  // Of the page, which is light or dark.
  const style = (name) => getComputedStyle(root).getPropertyValue(name).trim();

  function dot(point, color, factor) {
    const [x, y] = place(point);
    const size = radius[point] * factor * Math.min(2, Math.sqrt(view.scale));
    context.beginPath();
    outline(map.marks[map.groups[point]], x, y, size);
    if (map.cold[point]) {
      // Not filled: known by its features alone.
      context.lineWidth = 1.5;
      context.strokeStyle = color;
      context.stroke();
    } else {
      context.fillStyle = color;
      context.fill();
    }
  }

  // Marks of about the same area.
  function outline(mark, x, y, size) {
    const corners = {
      square: [[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]],
      triangle: [[0, -1.3], [1.2, 0.9], [-1.2, 0.9]],
      diamond: [[0, -1.35], [1.35, 0], [0, 1.35], [-1.35, 0]],
    }[mark];
    if (!corners) context.arc(x, y, size, 0, 2 * Math.PI);
    else for (const [dx, dy] of corners) context.lineTo(x + dx * size, y + dy * size);
    context.closePath();
  }

  function label(width, height) {
    context.font = "11px system-ui, sans-serif";
    context.fillStyle = style("--ink");
    context.strokeStyle = style("--paper");
    context.lineWidth = 3;
    context.lineJoin = "round";
    const taken = [];
    let tried = 0;
    for (let at = count - 1; at >= 0 && taken.length < 70 && tried < 600; at--) {
      const point = order[at];
      if (!shown[point]) continue;
      const [x, y] = place(point);
      if (x < 0 || x > width || y < 0 || y > height) continue;
      tried++;
      const box = [x + radius[point] + 2, y - 7, context.measureText(map.names[point]).width, 13];
      if (box[0] + box[2] > width || box[1] < 0) continue;
      if (taken.some((b) => box[0] < b[0] + b[2] && b[0] < box[0] + box[2] && box[1] < b[1] + b[3] && b[1] < box[1] + box[3])) continue;
      taken.push(box);
      context.strokeText(map.names[point], box[0], y + 4);
      context.fillText(map.names[point], box[0], y + 4);
    }
  }

  function choose() {
    const wanted = search.value.trim().toLowerCase();
    const tag = choice.value;
    for (let point = 0; point < count; point++) {
      shown[point] = (!wanted || lowered[point].includes(wanted)) && (!tag || map.tags[point].includes(tag));
    }
    const number = shown.filter(Boolean).length;
    counted.textContent = number === count ? `${count} shown` : `${number} of ${count} shown`;
    root.dataset.shown = number;
    draw();
  }

  function nearestTo(event) {
    const frame = canvas.getBoundingClientRect();
    const [mouseX, mouseY] = [event.clientX - frame.left, event.clientY - frame.top];
    let best = -1;
    let least = 14 * 14;
    for (let point = 0; point < count; point++) {
      if (!shown[point]) continue;
      const [x, y] = place(point);
      const distance = (x - mouseX) ** 2 + (y - mouseY) ** 2;
      if (distance < least) [best, least] = [point, distance];
    }
    return best;
  }

  function hover(point) {
    if (point === hovered) return;
    hovered = point;
    tip.hidden = point < 0;
    if (point >= 0) {
      tip.replaceChildren(Object.assign(document.createElement("strong"), { textContent: map.names[point] }));
      tip.append(document.createElement("br"), map.statistics[point]);
      const [x, y] = place(point);
      const [width] = size();
      const right = x > width * 0.5;
      tip.style.left = right ? "" : `${x + 14}px`;
      tip.style.right = right ? `${width - x + 14}px` : "";
      tip.style.top = `${Math.max(4, y - 12)}px`;
    }
    draw();
  }

  function zoom(factor, x, y) {
    const scale = Math.min(60, Math.max(1, view.scale * factor));
    const change = scale / view.scale;
    view = { scale, x: x - (x - view.x) * change, y: y - (y - view.y) * change };
    if (scale === 1) view = { scale, x: 0, y: 0 };
    draw();
  }

  canvas.addEventListener("pointermove", (event) => {
    if (drag) {
      view.x += event.clientX - drag[0];
      view.y += event.clientY - drag[1];
      drag = [event.clientX, event.clientY];
      draw();
    } else hover(nearestTo(event));
  });
  canvas.addEventListener("pointerdown", (event) => {
    drag = [event.clientX, event.clientY];
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointerup", () => (drag = null));
  canvas.addEventListener("pointercancel", () => (drag = null));
  canvas.addEventListener("pointerleave", () => hover(-1));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    const frame = canvas.getBoundingClientRect();
    zoom(Math.exp(-event.deltaY / 400), event.clientX - frame.left, event.clientY - frame.top);
  }, { passive: false });
  canvas.addEventListener("dblclick", () => zoom(0, 0, 0));
  search.addEventListener("input", choose);
  choice.addEventListener("change", choose);
  new ResizeObserver(draw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  choose();
}
for (const root of document.querySelectorAll(".map")) showMap(root);
