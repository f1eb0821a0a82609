-- allow-oom: whoever stops something on a full server must be heard.
-- HOLD: one reset does not go out until it is released; a line of its timeline says by whom.
-- KEYS r   ARGV told      'held' | 'absent' | the status that says it is too late
local st = redis.call('HGET', KEYS[1], 'st')
if not st then return 'absent' end
if st ~= 'queued' and st ~= 'retrying' then return st end
if redis.call('HSETNX', KEYS[1], 'hd', 1) == 1 then
  add_event(KEYS[1], math.floor(now_us() / 1000), 'held', '', ARGV[1])
end
return 'held'
