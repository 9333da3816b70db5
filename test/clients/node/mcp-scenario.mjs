// What both versions of the TypeScript SDK have in common here: the steps of the
// scenario (see ../mcp_test.go), and the tools that it needs.

const patience = 20_000

/** Counts requests that resume a stream. */
export function countingFetch() {
  const counter = {
    resumes: 0,
    fetch: (url, init) => {
      if (new Headers(init?.headers).has('last-event-id')) counter.resumes++
      return fetch(url, init)
    },
  }
  return counter
}

/**
 * Plays the scenario and prints the transcript.
 * connect returns {name, revision, list, call, close, session}: see mcp-client-*.mjs.
 */
export async function play(connect) {
  const [url, control, revision] = process.argv.slice(2)
  const post = path => fetch(`${control}/${path}`, {method: 'POST'})
  const lines = []
  let announced = () => {}
  const counter = countingFetch()
  const client = await connect(new URL(url), revision, counter.fetch, () => announced())

  const list = async () => lines.push(`tools ${(await client.list()).sort().join(' ')}`)
  const call = async name => {
    const steps = []
    try {
      const text = await client.call(name, p => {
        steps.push(`${p.progress} ${p.message}`)
        void post(`seen/${name}-${p.progress}`)
      })
      lines.push(`${name}: ${steps.join(', ')}; ${text}`)
    } catch (e) {
      console.error(`${name}: ${e}`)
      lines.push(`${name} fails`)
    }
  }
  const announce = async () => {
    const news = new Promise((resolve, reject) => {
      announced = resolve
      setTimeout(() => reject(new Error('nothing was announced')), patience).unref()
    })
    await call('announce')
    await news
    lines.push('the list of tools has changed')
    await list()
  }

  lines.push(`server ${client.name} speaks ${client.revision}`)
  await list()
  await call('count')
  await announce()
  await call('cut')
  if (revision < '2026-07-28') {
    await announce()
    if (revision >= '2025-11-25') await call('leave')
  }
  const session = client.session()
  await client.close()
  if (session) {
    const late = await fetch(url, {
      method: 'POST',
      headers: {
        'content-type': 'application/json', accept: 'application/json, text/event-stream',
        'mcp-session-id': session, 'mcp-protocol-version': revision,
      },
      body: JSON.stringify({jsonrpc: '2.0', id: 'late', method: 'ping'}),
    })
    lines.push(`afterwards the session answers ${late.status}`)
  }
  console.log(JSON.stringify({lines, resumes: counter.resumes}))
  process.exit(0)
}

/** The tools, as name and function of {progress, leave, announce}. */
export function tools(control) {
  const post = path => fetch(`${control}/${path}`, {method: 'POST'})
  const counted = (name, run) => [name, async context => {
    await post(`called/${name}`)
    return run(context)
  }]
  let announcements = 0
  return [
    counted('announce', async ({announce}) => {
      await announce(`extra-${++announcements}`)
      return 'announced'
    }),
    counted('count', async ({progress}) => {
      for (let n = 1; n <= 5; n++) await progress(n)
      return 'counted to 5'
    }),
    counted('cut', async ({progress}) => {
      await progress(1)
      await progress(2)
      await post('cut/cut-2')
      await progress(3)
      await progress(4)
      return 'survived'
    }),
    counted('leave', async ({progress, leave}) => {
      await progress(1)
      leave()
      await progress(2)
      return 'came back'
    }),
  ]
}

/** Keeps events in order, for streams that are resumed. */
export class Events {
  #all = [] // {stream, message}; an event's id is its place and its stream

  async storeEvent(stream, message) {
    this.#all.push({stream, message})
    return `${this.#all.length}/${stream}`
  }

  async getStreamIdForEventId(id) {
    return id.slice(id.indexOf('/') + 1)
  }

  async replayEventsAfter(id, {send}) {
    const stream = await this.getStreamIdForEventId(id)
    for (let n = parseInt(id, 10); n < this.#all.length; n++) {
      // What primes a stream is an event without a message.
      const {stream: its, message} = this.#all[n]
      if (its === stream && message.jsonrpc) await send(`${n + 1}/${stream}`, message)
    }
    return stream
  }
}

/** Serves on a free port and says which. */
export function listen(server) {
  server.listen(0, '127.0.0.1', () => console.log(`ready http://127.0.0.1:${server.address().port}`))
}
