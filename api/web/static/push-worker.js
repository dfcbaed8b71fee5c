// Shows a note that came, and opens its page when it is tapped. Keeps nothing.
"use strict";
self.addEventListener("push", (event) => {
  const note = event.data ? event.data.json() : {};
  event.waitUntil(self.registration.showNotification(note.title || "MyCity 我的城市", {
    body: note.body || "", lang: note.lang || "", data: { url: note.url || "/me" }, icon: "/static/icon.svg",
  }));
});
self.addEventListener("notificationclick", (event) => {
  event.notification.close();
  const url = new URL(event.notification.data.url, self.location.origin);
  // Only pages of ours.
  event.waitUntil(self.clients.openWindow(url.origin === self.location.origin ? url.href : "/me"));
});
