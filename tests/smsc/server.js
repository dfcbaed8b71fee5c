// A message centre for tests on npm's independent `smpp`. It prints one JSON object a line for what it
// does, and takes commands of the same form on its standard input. Behaviour follows the recipient's
// last two digits: 01 throttled once, 02 no such number, 03 takes and drops the line before answering,
// 04 never answers, 05 undeliverable, 06 no receipt, 07 the second part is throttled twice.
'use strict';
const smpp = require('smpp');
const say = (value) => process.stdout.write(JSON.stringify(value) + '\n');
const sessions = new Set();
const seen = {};
let next = 1000;

function receipt(session, pdu, id, word, options) {
  session.deliver_sm(Object.assign({
    source_addr: pdu.destination_addr, destination_addr: pdu.source_addr, esm_class: 4,
    short_message: `id:${id} sub:001 dlvrd:001 submit date:2610120900 done date:2610120901 stat:${word} err:${word === 'DELIVRD' ? '000' : '027'} text:`,
  }, options), (answer) => say({ receipt: id, status: answer.command_status }));
}

function submitted(session, pdu) {
  const kind = String(pdu.destination_addr).slice(-2);
  const message = pdu.short_message || {};
  const key = kind + ':' + pdu.destination_addr;
  seen[key] = (seen[key] || 0) + 1;
  say({ submit: { to: pdu.destination_addr, from: pdu.source_addr, text: message.message, coding: pdu.data_coding,
    udh: message.udh ? Buffer.concat([].concat(message.udh)).toString('hex') : '', registered: pdu.registered_delivery } });
  const refuse = (status) => session.send(pdu.response({ command_status: status }));
  if (kind === '01' && seen[key] === 1) return refuse(smpp.ESME_RTHROTTLED);
  if (kind === '02') return refuse(smpp.ESME_RINVDSTADR);
  if (kind === '03') return session.destroy();
  if (kind === '04') return undefined;
  if (kind === '07' && (seen[key] === 2 || seen[key] === 3)) return refuse(smpp.ESME_RTHROTTLED);
  const id = String(next++);
  session.send(pdu.response({ message_id: id }));
  if (kind === '06') return undefined;
  if (kind === '05') return receipt(session, pdu, id, 'UNDELIV', {});
  const tlv = kind === '08' ? { receipted_message_id: id, message_state: 2, short_message: 'no words' } : {};
  return receipt(session, pdu, id, 'DELIVRD', tlv);
}

const server = smpp.createServer((session) => {
  session.on('error', () => {});
  session.on('close', () => sessions.delete(session));
  session.on('bind_transceiver', (pdu) => {
    if (pdu.password !== 'right') {
      session.send(pdu.response({ command_status: smpp.ESME_RBINDFAIL }));
      return session.close();
    }
    sessions.add(session);
    say({ bound: pdu.system_id });
    return session.send(pdu.response());
  });
  session.on('submit_sm', (pdu) => submitted(session, pdu));
  session.on('query_sm', (pdu) => session.send(pdu.response({ message_id: pdu.message_id, final_date: '',
    message_state: Number(pdu.message_id) % 2 ? 2 : 1, error_code: 0 })));
  session.on('enquire_link', (pdu) => { say({ pulse: true }); session.send(pdu.response()); });
  session.on('unbind', (pdu) => { say({ unbound: true }); session.send(pdu.response()); session.close(); });
});
server.listen(0, '127.0.0.1', () => say({ port: server.address().port }));
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const order = JSON.parse(line);
  for (const session of sessions) {
    if (order.drop) session.destroy();
    if (order.text) for (const part of order.text) {
      const body = part.udh ? { udh: Buffer.from(part.udh, 'hex'), message: part.message } : part.message;
      session.deliver_sm({ source_addr: order.from, source_addr_ton: 1, destination_addr: '10690000', esm_class: part.udh ? 0x40 : 0,
        short_message: body }, (answer) => say({ handed: part.message, status: answer.command_status }));
    }
  }
}).on('close', () => process.exit(0));
