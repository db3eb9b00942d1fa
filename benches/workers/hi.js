// Answers every request, in Kittiwake and in workerd.

addEventListener("fetch", (event) => event.respondWith(new Response("hi")));
