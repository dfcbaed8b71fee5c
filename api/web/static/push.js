// Asks the browser whether it may notify, and puts its answer into the form. Sends nothing by itself.
"use strict";
(function () {
  const form = document.getElementById("push-form");
  const button = document.getElementById("push-on");
  const said = document.getElementById("push-said");
  if (!form || !button) { return; }
  if (!("serviceWorker" in navigator) || !("PushManager" in window)) {
    said.textContent = form.dataset.unable;
    return;
  }
  button.hidden = false;
  const bytes = (text) => {
    const plain = atob((text + "=".repeat((4 - text.length % 4) % 4)).replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (letter) => letter.charCodeAt(0));
  };
  button.addEventListener("click", async () => {
    button.disabled = true;
    try {
      if (await Notification.requestPermission() !== "granted") {
        said.textContent = form.dataset.refused;
        return;
      }
      await navigator.serviceWorker.register("/push-worker.js");
      const registration = await navigator.serviceWorker.ready;
      const device = await registration.pushManager.subscribe({
        userVisibleOnly: true, applicationServerKey: bytes(form.dataset.key),
      });
      form.elements.device.value = JSON.stringify(device);
      form.submit();
    } catch (error) {
      said.textContent = form.dataset.failed;
    } finally {
      button.disabled = false;
    }
  });
})();
