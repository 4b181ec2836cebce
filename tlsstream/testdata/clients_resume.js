// Fetches the paths given, each on a connection of its own, from one agent, which keeps the sessions of servers.
const fs = require('fs');
const https = require('https');

const [port, ca, ...paths] = process.argv.slice(2);
const agent = new https.Agent({ ca: fs.readFileSync(ca), keepAlive: false });

function next() {
  const path = paths.shift();
  if (path === undefined) return;
  let ended = false;
  const end = (how) => () => {
    if (ended) return;
    ended = true;
    console.log(path, how);
    setImmediate(next);
  };
  const request = https.get({ host: '127.0.0.1', port, path, agent, timeout: 30000 }, (response) => {
    response.resume();
    response.on('error', end('error'));
    response.on('end', end('complete'));
  });
  request.on('error', end('error'));
}
next();
