import { PassThrough } from 'node:stream';
import { describe, expect, it, vi } from 'vitest';
import { createSink } from '../../../../src/cli/view/sink.ts';
import { FakeStream } from './fake-terminal.ts';

describe('a sink', () => {
  it('writes, and is done when everything was taken', async () => {
    const stream = new FakeStream();
    const sink = createSink(stream);
    sink.write('a');
    sink.write('b');
    expect(sink.busy).toBe(true);
    await sink.flush();
    expect(sink.busy).toBe(false);
    expect(stream.text).toBe('ab');
    await sink.flush();
  });

  it('falls silent when the reader is gone, whether the stream fails or throws', async () => {
    for (const behaviour of ['fails', 'throws'] as const) {
      const stream = new FakeStream();
      const sink = createSink(stream);
      stream.behaviour = behaviour;
      sink.write('lost');
      await sink.flush();
      stream.behaviour = 'takes';
      sink.write('too late');
      await sink.flush();
      expect(stream.text).toBe('');
    }
  });

  it('survives a stream that is destroyed under it', async () => {
    const stream = new PassThrough();
    const sink = createSink(stream);
    sink.write('a');
    stream.destroy(Object.assign(new Error('write EPIPE'), { code: 'EPIPE' }));
    sink.write('b');
    await sink.flush();
    sink.write('c');
    expect(sink.busy).toBe(false);
  });

  it('does not wait for ever for a reader that does not read', async () => {
    vi.useFakeTimers();
    try {
      const stream = new FakeStream();
      const sink = createSink(stream);
      stream.behaviour = 'hangs';
      sink.write('a');
      expect(sink.busy).toBe(true);
      const flushed = sink.flush();
      await vi.advanceTimersByTimeAsync(10_000);
      await flushed;
    } finally {
      vi.useRealTimers();
    }
  });

  it('asks a terminal not to block, where that can be asked', () => {
    const setBlocking = vi.fn(() => 0);
    createSink(Object.assign(new FakeStream({ columns: 80, rows: 24 }), { _handle: { setBlocking } }));
    expect(setBlocking).toHaveBeenCalledWith(false);
    createSink(Object.assign(new FakeStream(), { _handle: { setBlocking } }));
    expect(setBlocking).toHaveBeenCalledTimes(1);
  });
});
