-- Forgets a session. ARGV[4] is when: "expired" if it has, "idle" if it has or has no
-- live stream, "always", or "never", which only looks. ARGV[5] is the greatest number
-- that a stream of it may have: writers of those are fenced. It returns 0 if there is
-- none, 1 if it is kept, 2 if it is forgotten, 3 if it had expired, 4 if it had live
-- streams; then the time of its use, of its last sign of life, the number of live
-- streams, and the number of the newest stream.
local used, live, seen = session()
if not used then
  return {0, 0, 0, 0, 0}
end
local all = streams()
local newest = tonumber(all[#all] or '0')
local kind = 2
if expired(used, live, seen) then
  kind = 3
elseif live > 0 then
  kind = 4
end
local when = ARGV[4]
if when == 'never' or when == 'expired' and kind ~= 3 or when == 'idle' and kind == 4 then
  return {1, used, seen, live, newest}
end
if live > 0 or when == 'always' then
  fence(ARGV[5])
end
drop_session()
return {kind, used, seen, live, newest}
