// Starts everything.

for (const select of document.querySelectorAll("[data-picker]")) {
  select.addEventListener("change", () => choose(data.schedules.findIndex((s) => s.name === select.value)));
}

function switchBreakdown() {
  const wanted = document.querySelector('input[name="breakdown"]:checked')?.value;
  for (const view of document.querySelectorAll("#breakdown .breakdown")) view.hidden = view.dataset.view !== wanted;
}
for (const radio of document.querySelectorAll('input[name="breakdown"]')) radio.addEventListener("change", switchBreakdown);

byId("copy")?.addEventListener("click", async () => {
  const text = byId("command").textContent, button = byId("copy");
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    // A page from a file may not have the clipboard: select the text for the reader's own copy.
    getSelection().selectAllChildren(byId("command"));
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 2000);
});

tips(document.body, (target) => target.closest?.("[data-tip]")?.dataset.tip);
addEventListener("scroll", hideTip, { passive: true });
switchBreakdown();
drawGraph();
drawTimeline();
drawRoofline();
drawMatrix();
drawOperators();
if (data.schedules.length) choose(data.main);
