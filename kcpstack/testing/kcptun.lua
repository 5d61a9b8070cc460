-- Wireshark dissectors for kcptun's headers: FEC, KCP, snappy's chunks and smux (docs/wire.rst).
--
--   tshark -X lua_script:kcptun.lua -r tunnel.pcapng
--
-- kcptun             a datagram under the cipher: FEC and KCP.  Traces name it; for a capture of --crypt none or
--                    null, "Decode As" a UDP port: a header of none is found by its checksum.
-- kcptun.sealed      a datagram that only its ends can read
-- kcptun.smux, kcptun.snappy, kcptun.stream, kcptun.erasure, kcptun.congestion
--                    what kcpstack.testing.tracedlayers writes above KCP, with its context in front
--
-- Bytes come from strangers: every length is checked before anything is read behind it.

local kcptun = Proto("kcptun", "kcptun datagram")
local fec = Proto("kcptun.fec", "kcptun FEC")
local kcp = Proto("kcptun.kcp", "KCP")
local sealed = Proto("kcptun.sealed", "kcptun sealed datagram")
local smux = Proto("kcptun.smux", "kcptun smux")
local snappy = Proto("kcptun.snappy", "kcptun snappy stream")
local stream = Proto("kcptun.stream", "kcptun stream")
local erasure = Proto("kcptun.erasure", "kcptun erasure code")
local congestion = Proto("kcptun.congestion", "kcptun congestion control")

-------------------------------------------------------------------- names

local SEGMENTS = { [81] = "PSH", [82] = "ACK", [83] = "WASK", [84] = "WINS" }
local SHARDS = { [0xf1] = "data", [0xf2] = "parity", [0xf3] = "out of band" }
local FRAMES = { [0] = "SYN", [1] = "FIN", [2] = "PSH", [3] = "NOP", [4] = "UPD" }
local CHUNKS = { [0x00] = "compressed", [0x01] = "plain", [0xfe] = "padding", [0xff] = "stream identifier" }
local OPERATIONS = { [0] = "encode", [1] = "reconstruct" }
local EVENTS = { [0] = "begun", [1] = "acknowledged", [2] = "skipped", [3] = "timed out" }
local NOPS = { [0] = "keepalive", [0x6b637074] = "announce", [0x6b637078] = "leave" } -- by stream; else a mark: closed

local DATA, PARITY = 0xf1, 0xf2
local PSH, NOP, UPD = 2, 3, 4
local COMPRESSED, PLAIN, IDENTIFIER = 0x00, 0x01, 0xff

local NONE_HEADER = 20 -- a nonce of 16, and a checksum
local SEGMENT_HEADER = 24
local SHARD_HEADER = 6 -- and 2 of size in a data shard
local FRAME_HEADER = 8
local UPDATE_FRAME = 16
local CHUNK_HEAD = 4
local CONTEXT = 12
local SAID_MAX = 12 -- parts in the Info column; a datagram can hold sixty acks

-------------------------------------------------------------------- fields

local f = { -- kcptun's, and the context's
	nonce = ProtoField.bytes("kcptun.nonce", "Nonce"),
	checksum = ProtoField.uint32("kcptun.checksum", "CRC-32", base.HEX),
	number = ProtoField.uint32("kcptun.trace.number", "Object of the trace"),
	traceConv = ProtoField.uint32("kcptun.trace.conv", "Session's conv", base.HEX),
	traceStream = ProtoField.uint32("kcptun.trace.stream", "Stream"),
}
kcptun.fields = { f.nonce, f.checksum, f.number, f.traceConv, f.traceStream }

local ff = {
	seqid = ProtoField.uint32("kcptun.fec.seqid", "Shard number"),
	type = ProtoField.uint16("kcptun.fec.type", "Type", base.HEX, SHARDS),
	size = ProtoField.uint16("kcptun.fec.size", "Size, its own two bytes included"),
	parity = ProtoField.bytes("kcptun.fec.parity", "Parity"),
	outOfBand = ProtoField.bytes("kcptun.fec.oob", "Out of band"),
}
fec.fields = { ff.seqid, ff.type, ff.size, ff.parity, ff.outOfBand }

local kf = {
	conv = ProtoField.uint32("kcptun.kcp.conv", "Conversation", base.HEX),
	cmd = ProtoField.uint8("kcptun.kcp.cmd", "Command", base.DEC, SEGMENTS),
	frg = ProtoField.uint8("kcptun.kcp.frg", "Fragment"),
	wnd = ProtoField.uint16("kcptun.kcp.wnd", "Window"),
	ts = ProtoField.uint32("kcptun.kcp.ts", "Time stamp"),
	sn = ProtoField.uint32("kcptun.kcp.sn", "Segment number"),
	una = ProtoField.uint32("kcptun.kcp.una", "Acknowledged below"),
	len = ProtoField.uint32("kcptun.kcp.len", "Length"),
	data = ProtoField.bytes("kcptun.kcp.data", "Data"),
	again = ProtoField.framenum("kcptun.kcp.again", "Sent before in", base.NONE, frametype.RETRANS_PREV),
}
kcp.fields = { kf.conv, kf.cmd, kf.frg, kf.wnd, kf.ts, kf.sn, kf.una, kf.len, kf.data, kf.again }

local df = { data = ProtoField.bytes("kcptun.sealed.data", "Sealed bytes") }
sealed.fields = { df.data }

local mf = {
	version = ProtoField.uint8("kcptun.smux.version", "Version"),
	cmd = ProtoField.uint8("kcptun.smux.cmd", "Command", base.DEC, FRAMES),
	length = ProtoField.uint16("kcptun.smux.length", "Length"),
	stream = ProtoField.uint32("kcptun.smux.stream", "Stream"),
	payload = ProtoField.bytes("kcptun.smux.payload", "Payload"),
	consumed = ProtoField.uint32("kcptun.smux.consumed", "Consumed"),
	window = ProtoField.uint32("kcptun.smux.window", "Window"),
	meaning = ProtoField.string("kcptun.smux.nop", "Meaning"),
	continued = ProtoField.uint32("kcptun.smux.continued", "Payload goes on, of stream"),
}
smux.fields = {
	mf.version, mf.cmd, mf.length, mf.stream, mf.payload, mf.consumed, mf.window, mf.meaning, mf.continued,
}

local cf = {
	type = ProtoField.uint8("kcptun.snappy.type", "Type", base.HEX, CHUNKS),
	length = ProtoField.uint24("kcptun.snappy.length", "Length"),
	body = ProtoField.bytes("kcptun.snappy.body", "Body"),
}
snappy.fields = { cf.type, cf.length, cf.body }

local sf = { data = ProtoField.bytes("kcptun.stream.data", "Data") }
stream.fields = { sf.data }

local ef = {
	operation = ProtoField.uint8("kcptun.erasure.operation", "Operation", base.DEC, OPERATIONS),
	d = ProtoField.uint8("kcptun.erasure.d", "Data shards"),
	p = ProtoField.uint8("kcptun.erasure.p", "Parity shards"),
	count = ProtoField.uint16("kcptun.erasure.count", "Shards in this call"),
	given = ProtoField.uint8("kcptun.erasure.given", "Given"),
	made = ProtoField.uint8("kcptun.erasure.made", "Made"),
	size = ProtoField.uint16("kcptun.erasure.size", "Size"),
	shard = ProtoField.bytes("kcptun.erasure.shard", "Shard"),
}
erasure.fields = { ef.operation, ef.d, ef.p, ef.count, ef.given, ef.made, ef.size, ef.shard }

local wf = {
	event = ProtoField.uint32("kcptun.congestion.event", "Event", base.DEC, EVENTS),
	segments = ProtoField.uint32("kcptun.congestion.segments", "Segments"),
	inFlight = ProtoField.uint32("kcptun.congestion.inflight", "In flight"),
	window = ProtoField.uint32("kcptun.congestion.window", "Window"),
}
congestion.fields = { wf.event, wf.segments, wf.inFlight, wf.window }

local malformed = ProtoExpert.new("kcptun.malformed", "Malformed", expert.group.MALFORMED, expert.severity.ERROR)
local cut = ProtoExpert.new("kcptun.cut", "Cut short by the capture", expert.group.PROTOCOL, expert.severity.NOTE)
local again = ProtoExpert.new("kcptun.again", "Sent again", expert.group.SEQUENCE, expert.severity.NOTE)
kcptun.experts = { malformed, cut, again }

local interfaceOf = Field.new("frame.interface_id")

-------------------------------------------------------------------- what is remembered of a file

local firstSent -- by direction and segment number: the frame that sent a push first
local sentBefore -- by frame and place in it: the frame that had sent this push before
local openUnits -- by byte stream: what of it is not complete
local openedWith -- by frame: what its byte stream had open when it began

function kcptun.init()
	firstSent, sentBefore, openUnits, openedWith = {}, {}, {}, {}
end

-- What tells apart the directions that a datagram or a byte stream can belong to.
local function directionOf(pinfo, what)
	local interface = interfaceOf()
	return table.concat({
		what, tostring(interface and interface.value), tostring(pinfo.p2p_dir),
		tostring(pinfo.src), tostring(pinfo.src_port), tostring(pinfo.dst), tostring(pinfo.dst_port),
	}, " ")
end

-- The Info column, as it grows.
local Said = {}
Said.__index = Said

local function newSaid(pinfo, protocol)
	pinfo.cols.protocol = protocol
	return setmetatable({ parts = {}, left = 0 }, Said)
end

function Said:add(...)
	if #self.parts < SAID_MAX then
		self.parts[#self.parts + 1] = string.format(...)
	else
		self.left = self.left + 1
	end
end

-- Which way it went, for places that know no addresses; empty in a capture.
local function arrow(pinfo)
	return ({ [0] = "> ", [1] = "< " })[pinfo.p2p_dir] or ""
end

function Said:show(pinfo)
	if self.left > 0 then
		self.parts[#self.parts + 1] = string.format("%d more", self.left)
	end
	pinfo.cols.info = arrow(pinfo) .. table.concat(self.parts, " | ")
end

local function complain(tree, said, ...)
	local text = string.format(...)
	tree:add_proto_expert_info(malformed, text)
	said:add("[%s]", text)
end

local function sayCut(tree, said)
	tree:add_proto_expert_info(cut)
	said:add("[cut]")
end

-- As much of a range as the capture has; nil where it has nothing.
local function available(tvb, offset, length)
	local there = math.min(length, tvb:captured_len() - offset)
	return there > 0 and tvb(offset, there) or nil
end

-------------------------------------------------------------------- KCP

-- Whether a datagram is segments from there to its end, one at least.
local function isWhole(tvb, offset)
	local reported, captured = tvb:reported_len(), tvb:captured_len()
	while reported - offset >= SEGMENT_HEADER and captured - offset >= SEGMENT_HEADER do
		if not SEGMENTS[tvb(offset + 4, 1):uint()] then
			return false
		end
		offset = offset + SEGMENT_HEADER + tvb(offset + 20, 4):le_uint()
		if offset == reported then
			return true
		end
	end
	return captured < reported and offset <= reported
end

local function markRepeat(pinfo, tree, direction, offset, sn)
	local place = pinfo.number * 65536 + offset
	if not pinfo.visited then
		local key = direction .. " " .. sn
		sentBefore[place] = firstSent[key]
		firstSent[key] = firstSent[key] or pinfo.number
	end
	if sentBefore[place] then
		tree:add(kf.again, sentBefore[place]):set_generated()
		tree:add_proto_expert_info(again)
		return " (again)"
	end
	return ""
end

local function dissectSegment(tvb, offset, length, pinfo, tree, said)
	local conv, cmd = tvb(offset, 4):le_uint(), tvb(offset + 4, 1):uint()
	local sn, una = tvb(offset + 12, 4):le_uint(), tvb(offset + 16, 4):le_uint()
	local name = SEGMENTS[cmd]
	local item = tree:add(kcp, available(tvb, offset, SEGMENT_HEADER + length))
	item:set_text(string.format("KCP %s, conv %08x, sn %.0f, una %.0f, %.0f bytes", name, conv, sn, una, length))
	item:add_le(kf.conv, tvb(offset, 4))
	item:add_le(kf.cmd, tvb(offset + 4, 1))
	item:add_le(kf.frg, tvb(offset + 5, 1))
	item:add_le(kf.wnd, tvb(offset + 6, 2))
	item:add_le(kf.ts, tvb(offset + 8, 4))
	item:add_le(kf.sn, tvb(offset + 12, 4))
	item:add_le(kf.una, tvb(offset + 16, 4))
	item:add_le(kf.len, tvb(offset + 20, 4))
	if name == "PSH" then
		local repeated = markRepeat(pinfo, item, directionOf(pinfo, conv), offset, sn)
		said:add("PSH sn=%.0f una=%.0f len=%.0f%s", sn, una, length, repeated)
	elseif name == "ACK" then
		said:add("ACK sn=%.0f", sn)
	else
		said:add("%s wnd=%d", name, tvb(offset + 6, 2):le_uint())
	end
	return item
end

-- ``finish`` is where they should end, be it in the capture or not.
local function dissectSegments(tvb, offset, finish, pinfo, tree, said)
	if offset == finish then
		complain(tree, said, "no segment")
	end
	while offset < finish do
		local left = finish - offset
		if left < SEGMENT_HEADER then
			complain(tree, said, "%d bytes are no segment", left)
			return
		elseif tvb:captured_len() - offset < SEGMENT_HEADER then
			sayCut(tree, said)
			return
		end
		local cmd = tvb(offset + 4, 1):uint()
		if not SEGMENTS[cmd] then
			complain(tree, said, "%d is no command of KCP", cmd)
			return
		end
		local length = tvb(offset + 20, 4):le_uint()
		local most = math.min(length, left - SEGMENT_HEADER)
		local item = dissectSegment(tvb, offset, most, pinfo, tree, said)
		if length > most then
			complain(item, said, "a segment of %.0f bytes, and %d are left", length, most)
			return
		end
		offset = offset + SEGMENT_HEADER
		local data = available(tvb, offset, length)
		if data then
			item:add(kf.data, data)
		end
		offset = offset + length
		if offset > tvb:captured_len() then
			sayCut(item, said)
			return
		end
	end
end

-------------------------------------------------------------------- FEC and the datagram

-- The type of shard that may begin there, else nil.  A plain KCP datagram has 81 to 84 in that place.
local function shardType(tvb, offset)
	if tvb:captured_len() - offset < SHARD_HEADER then
		return nil
	end
	local type = tvb(offset + 4, 2):le_uint()
	return SHARDS[type] and type or nil
end

local function dissectShard(tvb, offset, type, pinfo, tree, said)
	local reported = tvb:reported_len()
	local seqid = tvb(offset, 4):le_uint()
	local item = tree:add(fec, tvb(offset))
	item:set_text(string.format("FEC shard %.0f, %s", seqid, SHARDS[type]))
	item:add_le(ff.seqid, tvb(offset, 4))
	item:add_le(ff.type, tvb(offset + 4, 2))
	local behind = offset + SHARD_HEADER
	if type ~= DATA then
		local rest = available(tvb, behind, reported - behind)
		if rest then
			item:add(type == PARITY and ff.parity or ff.outOfBand, rest)
		elseif type == PARITY and reported == behind then
			complain(item, said, "no parity")
		end
		said:add("FEC %s %.0f", SHARDS[type], seqid)
		return
	elseif reported - behind < 2 then
		complain(item, said, "a data shard without its size")
		return
	elseif tvb:captured_len() - behind < 2 then
		sayCut(item, said)
		return
	end
	said:add("FEC data %.0f", seqid)
	local size = tvb(behind, 2):le_uint()
	item:add_le(ff.size, tvb(behind, 2))
	if size < 2 or size > reported - behind then
		complain(item, said, "a shard of %d bytes, and %d are left", size, reported - behind)
		return
	end
	item:set_len(SHARD_HEADER + 2)
	dissectSegments(tvb, behind + 2, behind + size, pinfo, tree, said)
end

local crcTable = {}
for byte = 0, 255 do
	local crc = byte
	for _ = 1, 8 do
		crc = bit.bxor(bit.rshift(crc, 1), bit.band(crc, 1) ~= 0 and 0xedb88320 or 0)
	end
	crcTable[byte] = crc
end

local function crc32(bytes)
	local crc = 0xffffffff
	for index = 1, #bytes do
		crc = bit.bxor(bit.rshift(crc, 8), crcTable[bit.band(bit.bxor(crc, bytes:byte(index)), 255)])
	end
	return bit.bnot(crc)
end

local function hasNoneHeader(tvb)
	local captured = tvb:captured_len()
	if captured <= NONE_HEADER or captured < tvb:reported_len() then
		return false
	end
	return bit.tobit(tvb(16, 4):le_uint()) == bit.tobit(crc32(tvb:raw(NONE_HEADER)))
end

function kcptun.dissector(tvb, pinfo, tree)
	local said = newSaid(pinfo, "KCP")
	local root = tree:add(kcptun, tvb())
	local offset = 0
	local type = shardType(tvb, 0)
	if not type and not isWhole(tvb, 0) and hasNoneHeader(tvb) then
		root:add(f.nonce, tvb(0, 16))
		root:add_le(f.checksum, tvb(16, 4))
		offset = NONE_HEADER
		type = shardType(tvb, offset)
	end
	if type then
		dissectShard(tvb, offset, type, pinfo, root, said)
	else
		dissectSegments(tvb, offset, tvb:reported_len(), pinfo, root, said)
	end
	said:show(pinfo)
	return tvb:captured_len()
end

function sealed.dissector(tvb, pinfo, tree)
	pinfo.cols.protocol = "kcptun"
	pinfo.cols.info = string.format("%sSealed, %d bytes", arrow(pinfo), tvb:reported_len())
	local root = tree:add(sealed, tvb())
	root:add(df.data, tvb())
	return tvb:captured_len()
end

-------------------------------------------------------------------- above KCP: the context, and byte streams

-- The context in front, and what tells its byte stream from others; nil where it is not whole.
local function readContext(tvb, pinfo, root)
	if tvb:captured_len() < CONTEXT then
		root:add_proto_expert_info(cut)
		pinfo.cols.info = "[cut]"
		return nil
	end
	root:add_le(f.number, tvb(0, 4))
	root:add_le(f.traceConv, tvb(4, 4))
	root:add_le(f.traceStream, tvb(8, 4))
	return directionOf(pinfo, tvb(0, 4):le_uint())
end

-- The unit (frame or chunk) that a byte stream has open at the beginning of this record: begun = its bytes so far,
-- as long as its head is not whole; left = bytes still to come of its body; lost = nothing more can be told.
local function openUnit(pinfo, key)
	if not pinfo.visited then
		openedWith[pinfo.number] = openUnits[key] or { begun = "", left = 0 }
	end
	local found = openedWith[pinfo.number] or { begun = "", left = 0 }
	return { begun = found.begun, left = found.left, of = found.of, lost = found.lost }
end

-- Cuts a record's bytes into units.  ``heads(range)`` gets the shortest head there can be, and returns how long this
-- unit's is; ``show(head, body, unit)`` shows one, sets unit.left to the length of its body and returns its item;
-- ``more(body, unit)`` shows what of a body was begun in an earlier record.
local function dissectUnits(tvb, pinfo, root, said, key, shortest, heads, show, more)
	local unit = openUnit(pinfo, key)
	local offset, captured, reported = CONTEXT, tvb:captured_len(), tvb:reported_len()
	if unit.lost then
		said:add("[what this is, is not known after what came before]")
	elseif unit.left > 0 and offset < captured then
		local there = math.min(unit.left, captured - offset)
		more(tvb(offset, there), unit)
		unit.left = unit.left - there
		offset = offset + there
	end
	while not unit.lost and offset < captured do
		local before = #unit.begun
		local bytes = unit.begun .. tvb:raw(offset, math.min(UPDATE_FRAME - before, captured - offset))
		local head = ByteArray.new(bytes, true)
		local length = shortest
		if #bytes >= shortest then
			length = heads(head)
		end
		if #bytes < length then
			root:add(tvb(offset), string.format("The first %d bytes of a head", #bytes))
			unit.begun = bytes
			offset = captured
		else
			local range = before == 0 and tvb(offset, length) or head:subset(0, length):tvb("Head")()
			offset = offset + length - before
			unit.begun = ""
			show(range, unit, function(most) return available(tvb, offset, most) end)
			local there = math.max(0, math.min(unit.left, captured - offset))
			unit.left = unit.left - there
			offset = offset + there
		end
	end
	if captured < reported then
		sayCut(root, said)
		unit.lost = true
	end
	if not pinfo.visited then
		openUnits[key] = unit
	end
end

-------------------------------------------------------------------- smux

local function frameHead(head)
	local isUpdate = head:get_index(0) == 2 and head:get_index(1) == UPD and head:get_index(2) == 8
	return isUpdate and head:get_index(3) == 0 and UPDATE_FRAME or FRAME_HEADER
end

-- Why a frame ends its session, or nil.
local function wrongFrame(version, cmd, length)
	if version ~= 1 and version ~= 2 then
		return string.format("smux has no version %d", version)
	elseif not FRAMES[cmd] or (cmd == UPD and version == 1) then
		return string.format("smux %d has no command %d", version, cmd)
	elseif cmd ~= PSH and length ~= (cmd == UPD and 8 or 0) then
		return string.format("%s with %d bytes", FRAMES[cmd], length)
	end
	return nil
end

local function showFrame(root, said, range, unit, body)
	local version, cmd = range(0, 1):uint(), range(1, 1):uint()
	local length, id = range(2, 2):le_uint(), range(4, 4):le_uint()
	local item = root:add(smux, range)
	local name = FRAMES[cmd] or tostring(cmd)
	item:set_text(string.format("smux %s, stream %.0f, %d bytes", name, id, length))
	item:add_le(mf.version, range(0, 1))
	item:add_le(mf.cmd, range(1, 1))
	item:add_le(mf.length, range(2, 2))
	item:add_le(mf.stream, range(4, 4))
	local wrong = wrongFrame(version, cmd, length)
	if wrong then
		complain(item, said, "%s", wrong)
		unit.lost = true
	elseif cmd == PSH then
		unit.left, unit.of = length, id
		local payload = body(length)
		if payload then
			item:add(mf.payload, payload)
		end
		said:add("PSH %.0f len=%d", id, length)
	elseif cmd == UPD then
		item:add_le(mf.consumed, range(8, 4))
		item:add_le(mf.window, range(12, 4))
		said:add("UPD %.0f consumed=%.0f window=%.0f", id, range(8, 4):le_uint(), range(12, 4):le_uint())
	elseif cmd == NOP then
		local meaning = NOPS[id] or "closed"
		item:add(mf.meaning, meaning):set_generated()
		said:add(NOPS[id] and "NOP %s" or "NOP %s %.0f", meaning, id)
	else
		said:add("%s %.0f", name, id)
	end
end

function smux.dissector(tvb, pinfo, tree)
	local said = newSaid(pinfo, "smux")
	local root = tree:add(smux, tvb())
	local key = readContext(tvb, pinfo, root)
	if not key then
		return tvb:captured_len()
	end
	dissectUnits(tvb, pinfo, root, said, key, FRAME_HEADER, frameHead, function(range, unit, body)
		showFrame(root, said, range, unit, body)
	end, function(range, unit)
		root:add(mf.continued, range, unit.of)
		root:add(mf.payload, range)
		said:add("PSH %.0f goes on, %d bytes", unit.of, range:len())
	end)
	said:show(pinfo)
	return tvb:captured_len()
end

-------------------------------------------------------------------- snappy

local function showChunk(root, said, range, unit, body)
	local type, length = range(0, 1):uint(), range(1, 3):le_uint()
	local item = root:add(snappy, range)
	local name = CHUNKS[type] or (type >= 0x80 and "skipped" or "unknown")
	item:set_text(string.format("Chunk: %s, %d bytes", name, length))
	item:add_le(cf.type, range(0, 1))
	item:add_le(cf.length, range(1, 3))
	if name == "unknown" then
		complain(item, said, "chunk type %02x must not be skipped", type)
		unit.lost = true
		return
	end
	unit.left, unit.of = length, type
	local there = body(length)
	if there then
		item:add(cf.body, there)
	end
	said:add("%s len=%d", name, length)
end

function snappy.dissector(tvb, pinfo, tree)
	local said = newSaid(pinfo, "snappy")
	local root = tree:add(snappy, tvb())
	local key = readContext(tvb, pinfo, root)
	if not key then
		return tvb:captured_len()
	end
	local function headLength()
		return CHUNK_HEAD
	end
	dissectUnits(tvb, pinfo, root, said, key, CHUNK_HEAD, headLength, function(range, unit, body)
		showChunk(root, said, range, unit, body)
	end, function(range)
		root:add(cf.body, range)
		said:add("chunk goes on, %d bytes", range:len())
	end)
	said:show(pinfo)
	return tvb:captured_len()
end

-------------------------------------------------------------------- streams, erasure code, congestion control

function stream.dissector(tvb, pinfo, tree)
	pinfo.cols.protocol = "stream"
	local root = tree:add(stream, tvb())
	if not readContext(tvb, pinfo, root) then
		return tvb:captured_len()
	end
	local number = tvb(8, 4):le_uint()
	local length = tvb:reported_len() - CONTEXT
	local what = number > 0 and string.format("Stream %.0f: ", number) or ""
	pinfo.cols.info = string.format("%s%s%d bytes", arrow(pinfo), what, length)
	local data = available(tvb, CONTEXT, length)
	if data then
		root:add(sf.data, data)
	end
	return tvb:captured_len()
end

local function dissectShardList(tvb, offset, root, said)
	local captured = tvb:captured_len()
	local given, made = 0, {}
	while captured - offset >= 4 do
		local index, isMade = tvb(offset, 1):uint(), tvb(offset + 1, 1):uint() == 1
		local size = tvb(offset + 2, 2):le_uint()
		local item = root:add(erasure, available(tvb, offset, 4 + size))
		item:set_text(string.format("Shard %d, %s, %d bytes", index, isMade and "made" or "given", size))
		item:add(isMade and ef.made or ef.given, tvb(offset, 1))
		item:add_le(ef.size, tvb(offset + 2, 2))
		local bytes = available(tvb, offset + 4, size)
		if bytes then
			item:add(ef.shard, bytes)
		end
		if isMade then
			made[#made + 1] = index
		else
			given = given + 1
		end
		offset = offset + 4 + size
	end
	if captured < tvb:reported_len() then
		sayCut(root, said)
	end
	return given, made
end

function erasure.dissector(tvb, pinfo, tree)
	local said = newSaid(pinfo, "erasure")
	local root = tree:add(erasure, tvb())
	if not readContext(tvb, pinfo, root) then
		return tvb:captured_len()
	elseif tvb:captured_len() < CONTEXT + 6 then
		sayCut(root, said)
		said:show(pinfo)
		return tvb:captured_len()
	end
	root:add_le(ef.operation, tvb(CONTEXT, 1))
	root:add_le(ef.d, tvb(CONTEXT + 1, 1))
	root:add_le(ef.p, tvb(CONTEXT + 2, 1))
	root:add_le(ef.count, tvb(CONTEXT + 4, 2))
	local given, made = dissectShardList(tvb, CONTEXT + 6, root, said)
	local operation = OPERATIONS[tvb(CONTEXT, 1):uint()] or "unknown"
	local d, p = tvb(CONTEXT + 1, 1):uint(), tvb(CONTEXT + 2, 1):uint()
	said:add("%s %d/%d, %d given, made: %s", operation, d, p, given, table.concat(made, " "))
	said:show(pinfo)
	return tvb:captured_len()
end

function congestion.dissector(tvb, pinfo, tree)
	pinfo.cols.protocol = "congestion"
	local root = tree:add(congestion, tvb())
	if not readContext(tvb, pinfo, root) then
		return tvb:captured_len()
	elseif tvb:captured_len() < CONTEXT + 16 then
		root:add_proto_expert_info(cut)
		return tvb:captured_len()
	end
	local at = CONTEXT
	for _, field in ipairs({ wf.event, wf.segments, wf.inFlight, wf.window }) do
		root:add_le(field, tvb(at, 4))
		at = at + 4
	end
	pinfo.cols.info = string.format("%s %.0f, %.0f in flight, window %.0f",
		EVENTS[tvb(CONTEXT, 4):le_uint()] or "unknown", tvb(CONTEXT + 4, 4):le_uint(),
		tvb(CONTEXT + 8, 4):le_uint(), tvb(CONTEXT + 12, 4):le_uint())
	return tvb:captured_len()
end

DissectorTable.get("udp.port"):add_for_decode_as(kcptun)
