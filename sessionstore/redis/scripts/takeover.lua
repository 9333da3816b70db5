-- Raises the token of the stream numbered ARGV[4] and marks it live. It returns the
-- stream as it was, like load.lua, and the number of live streams before; or
-- nothing.
local number = ARGV[4]
local used, live, seen = session()
if not used or expired(used, live, seen) then
  return {}
end
local s = control(number)
if not s then
  return {}
end
local was = redis.call('HMGET', key, 'c' .. number, 'b' .. number, 's' .. number, 'w' .. number)
local before = live
if not s.live then
  live = live + 1
end
s.token, s.live = s.token + 1, true
store_control(number, s)
redis.call('HSET', key, 'n', live, 'a', string.format('%.0f', now), 'u', string.format('%.0f', math.max(used, now)))
redis.call('PEXPIRE', key, 2 * ttl)
return {number, was[1], was[2], was[3], was[4] or '', before}
