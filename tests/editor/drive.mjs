// Drives yaml-language-server over stdio as an editor does. On stdin: [{uri, text, at: [[line, character], ...]}], places
// from 0. On stdout, for each document: {diagnostics, completions: [[{label, says, unparsable}, ...], ...], hovers}. What
// a completion inserts is put into the document, and the document parsed: an offer that makes bad YAML is none.

import {spawn} from 'node:child_process';
import {createRequire} from 'node:module';
import {fileURLToPath} from 'node:url';

const require = createRequire(import.meta.url);
const {parseDocument} = require('yaml');
const server = spawn(process.execPath, [
  fileURLToPath(new URL('./node_modules/yaml-language-server/bin/yaml-language-server', import.meta.url)), '--stdio',
]);
server.on('exit', (code) => { if (code) { console.error(`the server ended with ${code}`); process.exit(1); } });

let buffer = Buffer.alloc(0);
let last = 0;
const asked = new Map();
const published = new Map();

function send(message) {
  const body = Buffer.from(JSON.stringify({jsonrpc: '2.0', ...message}));
  server.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
  server.stdin.write(body);
}

function ask(method, params) {
  const id = ++last;
  send({id, method, params});
  return new Promise((resolve) => asked.set(id, resolve));
}

function take(message) {
  if (message.method === 'workspace/configuration') {
    const yaml = {validate: true, completion: true, hover: true, schemaStore: {enable: false}};
    send({id: message.id, result: message.params.items.map((item) => (item.section === 'yaml' ? yaml : {}))});
  } else if (message.id !== undefined && message.method) {
    send({id: message.id, result: null});
  } else if (message.id !== undefined) {
    asked.get(message.id)?.(message.result);
  } else if (message.method === 'textDocument/publishDiagnostics') {
    published.get(message.params.uri)?.(message.params.diagnostics);
  }
}

server.stdout.on('data', (data) => {
  buffer = Buffer.concat([buffer, data]);
  for (;;) {
    const end = buffer.indexOf('\r\n\r\n');
    if (end < 0) return;
    const length = Number(/Content-Length: (\d+)/i.exec(buffer.subarray(0, end).toString())[1]);
    if (buffer.length < end + 4 + length) return;
    const message = JSON.parse(buffer.subarray(end + 4, end + 4 + length).toString());
    buffer = buffer.subarray(end + 4 + length);
    take(message);
  }
});

// A snippet as it stands when a person tabs through it and changes nothing; what has no default becomes a word.
function plain(snippet) {
  return snippet
    .replace(/\$\{\d+:((?:\\.|[^}\\])*)\}/g, '$1')
    .replace(/\$\{\d+\}|\$\d+/g, 'x')
    .replace(/\\([$}\\])/g, '$1');
}

function inserted(text, [line, character], item) {
  const lines = text.split('\n');
  const range = item.textEdit?.range ?? {start: {line, character}, end: {line, character}};
  const before = lines[range.start.line].slice(0, range.start.character);
  const after = lines[range.end.line].slice(range.end.character);
  const indent = /^ */.exec(lines[range.start.line])[0];
  const words = plain(item.textEdit?.newText ?? item.insertText ?? item.label).replace(/\n/g, `\n${indent}`);
  return [...lines.slice(0, range.start.line), before + words + after, ...lines.slice(range.end.line + 1)].join('\n');
}

function words(documentation) {
  return typeof documentation === 'string' ? documentation : documentation?.value ?? '';
}

async function look({uri, text, at}) {
  const diagnostics = new Promise((resolve) => published.set(uri, resolve));
  send({method: 'textDocument/didOpen', params: {textDocument: {uri, languageId: 'yaml', version: 1, text}}});
  const found = await diagnostics;
  const completions = [];
  const hovers = [];
  for (const [line, character] of at ?? []) {
    const place = {textDocument: {uri}, position: {line, character}};
    const answer = await ask('textDocument/completion', place);
    completions.push((answer?.items ?? answer ?? []).map((item) => {
      const whole = inserted(text, [line, character], item);
      const errors = parseDocument(whole).errors.map((error) => error.message);
      // YAML takes these braces for a map in a map.
      if (/^[^'"#]*[:-] \{\{/m.test(whole)) errors.push('a template without quotes');
      return {label: item.label, says: words(item.documentation), unparsable: errors.join('; ')};
    }));
    hovers.push(words((await ask('textDocument/hover', place))?.contents));
  }
  return {diagnostics: found, completions, hovers};
}

let input = '';
for await (const chunk of process.stdin) input += chunk;
await ask('initialize', {
  processId: process.pid,
  rootUri: null,
  capabilities: {
    workspace: {configuration: true},
    textDocument: {completion: {completionItem: {snippetSupport: true, documentationFormat: ['markdown']}}, hover: {contentFormat: ['markdown']}},
  },
});
send({method: 'initialized', params: {}});
const results = await Promise.all(JSON.parse(input).map(look));
process.stdout.write(JSON.stringify(results), () => process.exit(0));
