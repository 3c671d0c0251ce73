-- Hands on what has gathered: one call for all of it. Of batches of a task's events it remembers for a while how far the
-- task's log has been handed on.
--
-- KEYS    for each message where that is kept
-- ARGV    how long to remember (ms), then for each message: channel, first seq, last seq, payload; no seqs (0) where
--         it is not events
--
-- The answer has a word for each message:
-- OK      it follows what was handed on before, or is not events
-- DUP     it was handed on before, by a call whose answer was lost: nobody is told again
-- GAP     something before it never came here: whoever hears this one sees the jump and reads the log
-- LOST    nothing is known of the task (any more): likewise
local function judged(key, first, last)
  local head = redis.pcall('SET', key, last, 'PX', ARGV[1], 'GET')
  if type(head) == 'table' then -- no room: nothing is remembered, and all the same it is told
    head = redis.call('GET', key)
  end
  head = tonumber(head or nil)
  if not head then
    return first == 1 and 'OK' or 'LOST'
  elseif last <= head then
    redis.pcall('SET', key, head, 'PX', ARGV[1])
    return 'DUP'
  end
  return first > head + 1 and 'GAP' or 'OK'
end

local words = {}
for n, key in ipairs(KEYS) do
  local at = 4 * n - 2
  local first, last, word = tonumber(ARGV[at + 1]), tonumber(ARGV[at + 2]), 'OK'
  if first > 0 then
    word = judged(key, first, last)
  end
  if word ~= 'DUP' then
    redis.call('PUBLISH', ARGV[at], ARGV[at + 3])
  end
  words[n] = word
end
return table.concat(words, ' ')
