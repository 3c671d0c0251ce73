-- Hands on one batch of a task's events, and remembers for a while how far the task's log has been handed on.
--
-- KEYS[1]  where that is kept
-- ARGV     channel, first seq, last seq, payload, how long to remember (ms)
--
-- OK    it follows what was handed on before
-- DUP   it was handed on before, by a call whose answer was lost: nobody is told again
-- GAP   something before it never came here: whoever hears this one sees the jump and reads the log
-- LOST  nothing is known of the task (any more): likewise
local first, last = tonumber(ARGV[2]), tonumber(ARGV[3])
local head = tonumber(redis.call('GET', KEYS[1]) or nil)
local answer = 'OK'
if head and last <= head then
  return 'DUP'
elseif not head and first ~= 1 then
  answer = 'LOST'
elseif head and first > head + 1 then
  answer = 'GAP'
end
-- One without room for it remembers nothing, and still tells.
redis.pcall('SET', KEYS[1], last, 'PX', ARGV[5])
redis.call('PUBLISH', ARGV[1], ARGV[4])
return answer
