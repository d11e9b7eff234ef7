"use strict";

// Without this script, the pictures of an example are side by side. It stacks them, shows one on
// each side of a divider, and pans all of them together when they are zoomed in.

const SMALL = 480; // CSS pixels: smaller crops start zoomed in, up to this width
const MAX_HEIGHT = 0.85; // as a share of the window's height; page.css has the same value

function compare(example) {
  const frame = example.querySelector(".frame");
  const view = example.querySelector(".view");
  const pictures = [...example.querySelectorAll(".picture")];
  const handle = example.querySelector(".handle");
  const controls = example.querySelector(".controls");
  const width = Number(example.style.getPropertyValue("--width"));
  const height = Number(example.style.getPropertyValue("--height"));
  const shown = { left: 0, right: 1 };
  const centre = { x: 0.5, y: 0.5 }; // centre of the visible part, as a share of the picture
  let zoom = 1;

  function available() {
    return { width: example.clientWidth, height: MAX_HEIGHT * window.innerHeight };
  }

  function fitting(factor) {
    return width * factor <= available().width && height * factor <= available().height;
  }

  function choose(side, index) {
    const other = side === "left" ? "right" : "left";
    if (shown[other] === index) {
      shown[other] = shown[side];
      controls.elements[other].value = shown[other];
    }
    shown[side] = index;
    pictures.forEach((picture, number) => {
      picture.classList.toggle("left", number === shown.left);
      picture.classList.toggle("right", number === shown.right);
      picture.inert = number !== shown.left && number !== shown.right;
    });
  }

  function moveDivider() {
    frame.style.setProperty("--divider", `${handle.value}%`);
    handle.setAttribute("aria-valuetext", `${Math.round(handle.value)} % from the left`);
  }

  function applyZoom() {
    const name = controls.elements.zoom.value;
    const fit = Math.min(1, available().width / width, available().height / height);
    zoom = name === "fit" ? fit : parseInt(name, 10);
    example.style.setProperty("--zoom", zoom);
    example.classList.toggle("sharp", zoom >= 1);
    place();
  }

  function place() {
    const parts = { x: [view.clientWidth, width * zoom], y: [view.clientHeight, height * zoom] };
    let pans = false;
    for (const [axis, [seen, whole]] of Object.entries(parts)) {
      const half = Math.min(0.5, seen / whole / 2);
      centre[axis] = Math.min(1 - half, Math.max(half, centre[axis]));
      const offset = Math.min(0, Math.round(seen / 2 - centre[axis] * whole));
      example.style.setProperty(`--${axis}`, `${offset}px`);
      pans ||= whole > seen + 1;
    }
    example.classList.toggle("pans", pans);
    if (pans) {
      view.tabIndex = 0;
      view.setAttribute("role", "group");
      view.setAttribute("aria-label", "Zoomed pictures; use the arrow keys to pan");
    } else {
      view.removeAttribute("tabindex");
      view.removeAttribute("role");
      view.removeAttribute("aria-label");
    }
  }

  function move(x, y) {
    centre.x -= x / (width * zoom);
    centre.y -= y / (height * zoom);
    place();
  }

  handle.addEventListener("input", moveDivider);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", (event) => {
    if (event.target.name === "zoom") applyZoom();
    else choose(event.target.name, Number(event.target.value));
  });
  let last = null;
  view.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    view.setPointerCapture(event.pointerId);
    last = event;
  });
  view.addEventListener("pointermove", (event) => {
    if (!view.hasPointerCapture(event.pointerId)) return;
    move(event.clientX - last.clientX, event.clientY - last.clientY);
    last = event;
  });
  view.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [40, 0], ArrowRight: [-40, 0], ArrowUp: [0, 40], ArrowDown: [0, -40] };
    if (!(event.key in step) || !example.classList.contains("pans")) return;
    event.preventDefault();
    move(...step[event.key]);
  });

  example.classList.add("live");
  controls.hidden = handle.hidden = false;
  const start = [4, 2].find((factor) => width * factor <= SMALL && fitting(factor));
  if (start) controls.elements.zoom.value = `${start}x`;
  choose("left", 0);
  moveDivider();
  applyZoom();
  new ResizeObserver(applyZoom).observe(example);
}

document.querySelectorAll(".example").forEach(compare);
