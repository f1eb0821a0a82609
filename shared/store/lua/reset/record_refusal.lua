-- Record why a user's request was refused; the same refusal again is counted.
-- KEYS refusals   ARGV word channel limit wait_ms request caller max keep_ms
-- an item: [word, channel, limit, at_ms, until_ms, request, caller, how often, first_ms]
local now = math.floor(now_us() / 1000)
local item = {ARGV[1], ARGV[2], ARGV[3], int(now), int(now + tonumber(ARGV[4])), ARGV[5], ARGV[6],
              1, int(now)}
local head = redis.call('LINDEX', KEYS[1], 0)
local last = head and cjson.decode(head)
if last and last[1] == item[1] and last[2] == item[2] and last[3] == item[3] then
  item[8], item[9] = last[8] + 1, last[9]
  redis.call('LSET', KEYS[1], 0, cjson.encode(item))
else
  redis.call('LPUSH', KEYS[1], cjson.encode(item))
  redis.call('LTRIM', KEYS[1], 0, tonumber(ARGV[7]) - 1)
end
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return 1
