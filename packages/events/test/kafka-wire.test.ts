// What publishing says and believes on the wire, without a broker: checksums, batches, logins, and peers that misbehave.
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { openLink } from '../src/kafka/broker-link.ts';
import { crc32c } from '../src/kafka/crc32c.ts';
import { METADATA, metadataRequest, readMetadata, readProduce } from '../src/kafka/protocol.ts';
import { encodeBatch } from '../src/kafka/record-batch.ts';
import { scramLogin } from '../src/kafka/scram.ts';

describe('CRC-32C', () => {
  test('is that of the standard (RFC 3720, B.4)', () => {
    expect(crc32c(Buffer.alloc(32))).toBe(0x8a9136aa);
    expect(crc32c(Buffer.alloc(32, 0xff))).toBe(0x62a8ab43);
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
  });

  test('of any bytes from any start is that of one bit at a time', () => {
    const bitwise = (bytes: Uint8Array) => {
      let crc = -1;
      for (const byte of bytes) {
        crc ^= byte;
        for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
      }
      return (crc ^ -1) >>> 0;
    };
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat(100), (bytes, start) => {
        expect(crc32c(bytes, start)).toBe(bitwise(bytes.subarray(start)));
      }),
    );
  });
});

test('a batch has the size it was measured to, for every text, and carries identity and sequence', () => {
  const record = fc.record({
    key: fc.option(fc.string({ unit: 'binary' })),
    value: fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    ),
    headers: fc.array(fc.tuple(fc.string(), fc.string({ unit: 'binary' })), { maxLength: 5 }),
  });
  fc.assert(
    fc.property(fc.array(record, { minLength: 1, maxLength: 66 }), fc.nat(2 ** 31 - 1), (records, sequence) => {
      const batch = encodeBatch(records, { id: 7n, epoch: 3 }, sequence);
      expect(batch.readInt32BE(8)).toBe(batch.length - 12);
      expect(batch.readUInt32BE(17)).toBe(crc32c(batch, 21));
      expect(batch.readBigInt64BE(43)).toBe(7n);
      expect(batch.readInt32BE(53)).toBe(sequence);
      expect(batch.readInt32BE(57)).toBe(records.length);
      let at = 61;
      for (let left = records.length; left > 0; left--) {
        let [size, shift] = [0, 0];
        for (let more = true; more; shift += 7) {
          const byte = batch[at++] ?? 0;
          size |= (byte & 0x7f) << shift;
          more = byte > 0x7f;
        }
        at += size >> 1; // zigzag of a positive number
      }
      expect(at).toBe(batch.length);
      const room = Buffer.alloc(batch.length * 4, 0xff);
      const again = encodeBatch(records, { id: 7n, epoch: 3 }, sequence, room);
      expect(withoutTimes(again)).toEqual(withoutTimes(batch));
    }),
    { numRuns: 10 },
  );
});

/** Nor the checksum, which covers them. */
function withoutTimes(batch: Buffer): Buffer {
  return Buffer.from(batch).fill(0, 17, 21).fill(0, 27, 43);
}

describe('a login', () => {
  const password = 'the right one';
  const salt = Buffer.from('salt');

  /** The broker's side, as RFC 5802 has it; `change` is a broker that does something else. */
  function broker(change: { nonce?: (nonce: string) => string; iterations?: number; knows?: string } = {}) {
    const { nonce = (theirs: string) => `${theirs}broker`, iterations = 4_096, knows = password } = change;
    let first = '';
    return async (message: Buffer): Promise<Buffer> => {
      const text = message.toString();
      if (text.startsWith('n,,')) {
        first = `${text.slice(3)},r=${nonce(text.split('r=')[1] ?? '')},s=${salt.toString('base64')},i=${iterations}`;
        return Buffer.from(first.slice(text.length - 3 + 1));
      }
      const [signed = '', proof = ''] = text.split(',p=');
      const salted = pbkdf2Sync(knows, salt, iterations, 64, 'sha512');
      const key = createHmac('sha512', salted).update('Client Key').digest();
      const stored = createHash('sha512').update(key).digest();
      const signature = createHmac('sha512', stored).update(`${first},${signed}`).digest();
      if (knows === password)
        expect(Buffer.from(proof, 'base64')).toEqual(Buffer.from(key.map((byte, i) => byte ^ (signature[i] ?? 0))));
      const server = createHmac('sha512', salted).update('Server Key').digest();
      return Buffer.from(`v=${createHmac('sha512', server).update(`${first},${signed}`).digest('base64')}`);
    };
  }

  test('proves the password, and is given proof', async () => {
    await scramLogin('forwarding', password, broker());
  });

  test.each([
    ['does not know the password', { knows: 'another' }, /did not prove/],
    ['sends a nonce that is not ours', { nonce: () => 'strange' }, /does not fit/],
    ['adds nothing to our nonce', { nonce: (theirs: string) => theirs }, /does not fit/],
    ['asks for one iteration', { iterations: 1 }, /does not fit/],
    ['asks for so many that it would never end', { iterations: 2 ** 31 }, /does not fit/],
  ])('is broken off when the broker %s', async (_, change, reason) => {
    await expect(scramLogin('forwarding', password, broker(change))).rejects.toThrow(reason);
  });
});

describe('a link', () => {
  let server: Server | undefined;
  afterEach(() => server?.close());

  /** A peer that does this with each chunk. */
  async function peer(onData: (socket: Socket, chunk: Buffer) => void): Promise<string> {
    server = createServer((socket) => {
      socket.on('data', (chunk) => onData(socket, chunk));
      socket.on('error', () => socket.destroy());
    });
    await new Promise<void>((resolve) => server?.listen(0, '127.0.0.1', resolve));
    return `127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  const frame = (number: number, body: Buffer) => {
    const head = Buffer.alloc(8);
    head.writeInt32BE(body.length + 4, 0);
    head.writeInt32BE(number, 4);
    return Buffer.concat([head, body]);
  };
  const ask = async (address: string) => (await openLink(address, undefined)).request(METADATA, metadataRequest('t'));

  test('puts answers together from pieces, and gives each to its question', async () => {
    let asked = 0;
    const address = await peer((socket) => {
      if (++asked > 1) return;
      const bytes = Buffer.concat([frame(0, Buffer.from('first')), frame(1, Buffer.from('second'))]);
      for (const byte of bytes) socket.write(Buffer.from([byte]));
    });
    const link = await openLink(address, undefined);
    const answers = await Promise.all([
      link.request(METADATA, metadataRequest('t')),
      link.request(METADATA, metadataRequest('t')),
    ]);
    expect(answers.map(String)).toEqual(['first', 'second']);
    link.close();
    expect(link.open).toBe(false);
    await expect(link.request(METADATA)).rejects.toThrow('closed');
  });

  test.each([
    ['answers in HTTP', Buffer.from('HTTP/1.1 400 Bad Request\r\n\r\n'), /does not speak Kafka/],
    ['announces two gigabytes', Buffer.from([0x7f, 0xff, 0xff, 0xff]), /does not speak Kafka/],
    ['answers another question', frame(7, Buffer.alloc(4)), /out of turn/],
  ])('ends when the peer %s', async (_, bytes, reason) => {
    await expect(ask(await peer((socket) => socket.write(bytes)))).rejects.toThrow(reason);
  });

  test('ends when the peer hangs up', async () => {
    await expect(ask(await peer((socket) => socket.destroy()))).rejects.toThrow(/closed|ECONNRESET/);
  });

  test('ends when nobody answers in time', async () => {
    await expect(ask(await peer(() => {}))).rejects.toThrow(/did not answer/);
  });
});

test('an answer cut short is not half believed', () => {
  expect(() => readMetadata(Buffer.alloc(12), 't')).toThrow(RangeError);
  expect(() => readProduce(Buffer.from([0, 0, 0, 1, 0, 1, 0x74, 0, 0, 0, 1, 0, 0]))).toThrow(RangeError);
});
