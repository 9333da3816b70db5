// The scenario with version 2 of the TypeScript SDK.
import {Client, StreamableHTTPClientTransport} from '@modelcontextprotocol/client'
import {play} from './mcp-scenario.mjs'

await play(async (url, revision, fetch, announced) => {
  const transport = new StreamableHTTPClientTransport(url, {fetch})
  const sessionless = revision >= '2026-07-28'
  const client = new Client({name: 'test', version: '1'}, {
    ...(sessionless ? {versionNegotiation: {mode: {pin: revision}}} : {supportedProtocolVersions: [revision]}),
    listChanged: {tools: {autoRefresh: false, debounceMs: 0, onChanged: announced}},
  })
  await client.connect(transport)
  let session
  return {
    name: client.getServerVersion().name,
    revision: client.getNegotiatedProtocolVersion(),
    list: async () => (await client.listTools()).tools.map(t => t.name),
    call: async (name, onprogress) => {
      // From 2026-07-28 on a call whose stream breaks off is answered by this time-out.
      const result = await client.callTool({name, arguments: {}}, {onprogress, ...(sessionless && {timeout: 2000})})
      return result.content[0].text
    },
    session: () => (session = transport.sessionId),
    close: async () => {
      if (session) await transport.terminateSession()
      await client.close()
    },
  }
})
