-- Reads a session. ARGV[4] is the line whose windows are wanted; empty: none. It
-- returns nothing if the session is not there or has expired, or the record, the
-- time of use, and five values for each stream: number, control, birth, state,
-- window.
local used, live, seen = session()
if not used or expired(used, live, seen) then
  return {}
end
local answer = {redis.call('HGET', key, 'm'), redis.call('HGET', key, 'u')}
for _, n in ipairs(streams()) do
  local v = redis.call('HMGET', key, 'c' .. n, 'b' .. n, 's' .. n)
  local window = ''
  if ARGV[4] ~= '' and parse(v[1]).line == ARGV[4] then
    window = redis.call('HGET', key, 'w' .. n) or ''
  end
  for _, part in ipairs({n, v[1], v[2], v[3], window}) do
    answer[#answer + 1] = part
  end
end
return answer
