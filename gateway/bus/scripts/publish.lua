-- Hands on what has gathered: one call for all of it. Of each sender it remembers for a while the number of its last call.
--
-- KEYS[1] where that is kept
-- ARGV    how long to remember (ms), the number of this call, then for each message: channel, payload
--
-- The answer is a word:
-- OK      it follows the call before
-- DUP     it was handed on before, and the answer was lost: nobody is told again
-- GAP     what came before it was dropped: too much had gathered for a Redis that was away
-- LOST    nothing is known of the sender any more: Redis was emptied, and what it was handed before may have gone with it
local last = redis.pcall('SET', KEYS[1], ARGV[2], 'PX', ARGV[1], 'GET')
if type(last) == 'table' then -- no room: nothing is remembered, and all the same it is told
  last = redis.call('GET', KEYS[1])
end
last = tonumber(last or nil)
local number = tonumber(ARGV[2])
if last and number <= last then
  redis.pcall('SET', KEYS[1], last, 'PX', ARGV[1])
  return 'DUP'
end
for at = 3, #ARGV, 2 do
  redis.call('PUBLISH', ARGV[at], ARGV[at + 1])
end
if not last then
  return number == 1 and 'OK' or 'LOST'
end
return number == last + 1 and 'OK' or 'GAP'
