// Fetches a URL by https.get, and prints what a program that uses it learns: the error's code, or how many bytes came.
const fs = require('fs');
const https = require('https');

const [url, ca] = process.argv.slice(2);
const fail = (event) => (err) => {
  console.log(event, err.code, err.message);
  process.exit(1);
};
const request = https.get(url, { ca: fs.readFileSync(ca), agent: false, timeout: 30000 }, (response) => {
  let bytes = 0;
  response.on('data', (chunk) => { bytes += chunk.length; });
  response.on('error', fail('response error'));
  response.on('end', () => console.log('complete', bytes));
});
request.on('timeout', () => request.destroy(new Error('timeout')));
request.on('error', fail('request error'));
