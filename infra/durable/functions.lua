-- One durable request and its log. KEYS[1] is the request's key, tamer:request:{ID}; its log shares
-- the hash tag. (`release_key` alone works on the entry of an idempotency key.)
--
--   tamer:request:{ID}       hash    body (encoded wire.DurableRequest), status, owner, claim,
--                                    length (entries of the log), accepted, cancelled
--   tamer:request:{ID}:log   stream  encoded wire.LogEntry; entry n has the id n-0
--
-- Whoever claims a request gets the next claim number, and only the newest claim may write: a gateway
-- that was silent and comes back cannot spoil the log of the one that took over.

local function read(key)
  local found = redis.call('HMGET', key, 'status', 'claim', 'length')
  if not found[1] then return nil end
  return { status = found[1], claim = tonumber(found[2]), length = tonumber(found[3]) }
end

local function writable(key, claim)
  local request = read(key)
  if request and request.status == 'open' and request.claim == tonumber(claim) then return request end
  return nil
end

local function expire(key, seconds)
  redis.call('EXPIRE', key, seconds)
  redis.call('EXPIRE', key .. ':log', seconds)
end

-- create: owner body forget_after_s -> 1, or 0 where the id is taken
local function create(keys, args)
  local key = keys[1]
  if redis.call('EXISTS', key) == 1 then return 0 end
  redis.call('HSET', key, 'status', 'open', 'owner', args[1], 'claim', 1, 'length', 0, 'body', args[2])
  redis.call('EXPIRE', key, args[3])
  return 1
end

-- accept: claim -> 1, or 0 where the request is no longer the caller's
local function accept(keys, args)
  if not writable(keys[1], args[1]) then return 0 end
  redis.call('HSET', keys[1], 'accepted', 1)
  redis.call('PERSIST', keys[1])
  return 1
end

-- append: claim first entry... -> 1; 0 where the request is no longer the caller's; -1 where entries
-- before `first` are missing. Entries that are there already are not written again.
local function append(keys, args)
  local key, first = keys[1], tonumber(args[2])
  local request = writable(key, args[1])
  if not request then return 0 end
  if first > request.length + 1 then return -1 end
  for i = 3, #args do
    local number = first + i - 3
    if number > request.length then
      redis.call('XADD', key .. ':log', number .. '-0', 'entry', args[i])
      request.length = number
    end
  end
  redis.call('HSET', key, 'length', request.length)
  return 1
end

-- finish: claim status body keep_s -> 1, or 0 where the request is no longer the caller's
local function finish(keys, args)
  local key = keys[1]
  if not writable(key, args[1]) then return 0 end
  redis.call('HSET', key, 'status', args[2], 'body', args[3])
  redis.call('PERSIST', key)
  expire(key, args[4])
  return 1
end

-- claim: known_claim owner -> the new claim, or 0 where it has ended or somebody else was first
local function claim(keys, args)
  if not writable(keys[1], args[1]) then return 0 end
  redis.call('HSET', keys[1], 'owner', args[2])
  return redis.call('HINCRBY', keys[1], 'claim', 1)
end

-- cancel: -> its status; an open one is marked, and its owner ends it
local function cancel(keys)
  local status = redis.call('HGET', keys[1], 'status')
  if status == 'open' then redis.call('HSET', keys[1], 'cancelled', 1) end
  return status
end

-- discard: claim -> 1; the request never was
local function discard(keys, args)
  if not writable(keys[1], args[1]) then return 0 end
  redis.call('DEL', keys[1], keys[1] .. ':log')
  return 1
end

-- reopen: body entry_to_drop... -> 1, or 0 where it has not failed
local function reopen(keys, args)
  local key = keys[1]
  if redis.call('HGET', key, 'status') ~= 'failed' then return 0 end
  redis.call('HSET', key, 'status', 'open', 'owner', '', 'body', args[1])
  redis.call('HDEL', key, 'accepted', 'cancelled')
  redis.call('HINCRBY', key, 'claim', 1)
  for i = 2, #args do redis.call('XDEL', key .. ':log', args[i] .. '-0') end
  redis.call('PERSIST', key)
  redis.call('PERSIST', key .. ':log')
  return 1
end

-- release_key: value -> 1, or 0 where the key stands for something else by now
local function release_key(keys, args)
  if redis.call('GET', keys[1]) ~= args[1] then return 0 end
  return redis.call('DEL', keys[1])
end

redis.register_function('NAME_create', create)
redis.register_function('NAME_accept', accept)
redis.register_function('NAME_append', append)
redis.register_function('NAME_finish', finish)
redis.register_function('NAME_claim', claim)
redis.register_function('NAME_cancel', cancel)
redis.register_function('NAME_discard', discard)
redis.register_function('NAME_reopen', reopen)
redis.register_function('NAME_release_key', release_key)
