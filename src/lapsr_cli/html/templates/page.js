"use strict";

// Each example begins as pictures side by side. This lays them over each other, shows one to each
// side of a boundary, and moves all of them together when they are enlarged.

const SMALL = 480; // CSS pixels: crops start enlarged, up to this width
const TALLEST = 0.85; // of the window, as in the style sheet

function compare(example) {
  const frame = example.querySelector(".frame");
  const view = example.querySelector(".view");
  const shots = [...example.querySelectorAll(".shot")];
  const handle = example.querySelector(".handle");
  const controls = example.querySelector(".controls");
  const width = Number(example.style.getPropertyValue("--width"));
  const height = Number(example.style.getPropertyValue("--height"));
  const shown = { left: 0, right: 1 };
  const centre = { x: 0.5, y: 0.5 }; // of what is seen, as a share of the picture
  let zoom = 1;

  function room() {
    return { width: example.clientWidth, height: TALLEST * window.innerHeight };
  }

  function fitting(factor) {
    return width * factor <= room().width && height * factor <= room().height;
  }

  function choose(side, index) {
    const other = side === "left" ? "right" : "left";
    if (shown[other] === index) {
      shown[other] = shown[side];
      controls.elements[other].value = shown[other];
    }
    shown[side] = index;
    shots.forEach((shot, number) => {
      shot.classList.toggle("left", number === shown.left);
      shot.classList.toggle("right", number === shown.right);
      shot.inert = number !== shown.left && number !== shown.right;
    });
  }

  function cut() {
    frame.style.setProperty("--cut", `${handle.value}%`);
    handle.setAttribute("aria-valuetext", `${Math.round(handle.value)} % from the left`);
  }

  function enlarge() {
    const name = controls.elements.zoom.value;
    const fit = Math.min(1, room().width / width, room().height / height);
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
      view.setAttribute("aria-label", "Enlarged pictures; the arrow keys move them");
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

  handle.addEventListener("input", cut);
  controls.addEventListener("submit", (event) => event.preventDefault());
  controls.addEventListener("change", (event) => {
    if (event.target.name === "zoom") enlarge();
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
  cut();
  enlarge();
  new ResizeObserver(enlarge).observe(example);
}

document.querySelectorAll(".example").forEach(compare);
