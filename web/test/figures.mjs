// What a page's WebRTC statistics say of a call (https://www.w3.org/TR/webrtc-stats/).

/** Types the name, presses Join, waits until media flows. */
export async function join(page, name) {
  await page.until(`!document.getElementById('preview').hidden`);
  await page.evaluate(`document.getElementById('name').value = ${JSON.stringify(name)}; document.getElementById('join').click()`);
  await page.until('undertone.call?.connected');
}

/** Counters of the call so far, with the time in seconds. */
async function look(page) {
  return page.evaluate(`(async () => {
    const report = [...(await undertone.call.pc.getStats()).values()];
    const sum = (type, kind, name) => report
      .filter((stat) => stat.type === type && (!kind || stat.kind === kind))
      .reduce((sum, stat) => sum + (stat[name] ?? 0), 0);
    const transport = report.find(({ type }) => type === 'transport');
    const pair = report.find(({ id }) => id === transport.selectedCandidatePairId);
    return {
      seconds: performance.now() / 1000,
      dtls: transport.dtlsState, dtls_version: transport.tlsVersion, srtp: transport.srtpCipher,
      rtt_ms: pair.currentRoundTripTime * 1000,
      audio_sent: sum('outbound-rtp', 'audio', 'packetsSent'),
      video_sent: sum('outbound-rtp', 'video', 'packetsSent'),
      frames_sent: sum('outbound-rtp', 'video', 'framesSent'),
      video_bytes_sent: sum('outbound-rtp', 'video', 'bytesSent'),
      reported_lost: sum('remote-inbound-rtp', '', 'packetsLost'),
      audio_received: sum('inbound-rtp', 'audio', 'packetsReceived'),
      video_received: sum('inbound-rtp', 'video', 'packetsReceived'),
      lost: sum('inbound-rtp', '', 'packetsLost'),
      discarded: sum('inbound-rtp', '', 'packetsDiscarded'),
      samples: sum('inbound-rtp', 'audio', 'totalSamplesReceived'),
      concealed: sum('inbound-rtp', 'audio', 'concealedSamples'),
      energy: sum('inbound-rtp', 'audio', 'totalAudioEnergy'),
      frames_decoded: sum('inbound-rtp', 'video', 'framesDecoded'),
      frames_dropped: sum('inbound-rtp', 'video', 'framesDropped'),
      freezes: sum('inbound-rtp', 'video', 'freezeCount'),
      frozen: sum('inbound-rtp', 'video', 'totalFreezesDuration'),
      nacks_sent: sum('inbound-rtp', '', 'nackCount'),
      plis_sent: sum('inbound-rtp', 'video', 'pliCount'),
      nacks_received: sum('outbound-rtp', '', 'nackCount'),
      plis_received: sum('outbound-rtp', 'video', 'pliCount'),
      key_frames_sent: sum('outbound-rtp', 'video', 'keyFramesEncoded'),
      video_resent: sum('outbound-rtp', 'video', 'retransmittedPacketsSent'),
      audio_waited: sum('inbound-rtp', 'audio', 'jitterBufferDelay'),
      audio_emitted: sum('inbound-rtp', 'audio', 'jitterBufferEmittedCount'),
      video_waited: sum('inbound-rtp', 'video', 'jitterBufferDelay'),
      video_emitted: sum('inbound-rtp', 'video', 'jitterBufferEmittedCount'),
      available_kbps: pair.availableOutgoingBitrate / 1000,
    };
  })()`);
}

/** Watches a call for some seconds, and says what happened meanwhile. */
export async function watch(page, seconds) {
  const start = await look(page);
  await new Promise((resolve) => setTimeout(resolve, seconds * 1000));
  const end = await look(page);
  const during = end.seconds - start.seconds;
  const change = (name) => end[name] - start[name];
  const mean = (total, count) => Math.round(1000 * change(total) / Math.max(1, change(count)));
  const per = (name) => Math.round(10 * change(name) / during) / 10;
  return {
    seconds: Math.round(during * 10) / 10,
    dtls: end.dtls, dtls_version: end.dtls_version, srtp: end.srtp, rtt_ms: end.rtt_ms,
    audio_sent: change('audio_sent'), audio_received: change('audio_received'),
    video_sent: change('video_sent'), video_received: change('video_received'),
    video_kbps_sent: Math.round(change('video_bytes_sent') * 8 / during / 1000),
    reported_lost: change('reported_lost'), lost: change('lost'), discarded: change('discarded'),
    concealed_percent: Math.round(1e4 * change('concealed') / Math.max(1, change('samples'))) / 100,
    audio_energy: change('energy'),
    fps_sent: per('frames_sent'), fps_decoded: per('frames_decoded'),
    frames_dropped: change('frames_dropped'), freezes: change('freezes'),
    frozen_percent: Math.round(1000 * change('frozen') / during) / 10,
    nacks_sent: change('nacks_sent'), plis_sent: change('plis_sent'),
    nacks_received: change('nacks_received'), plis_received: change('plis_received'),
    key_frames_sent: change('key_frames_sent'), video_resent: change('video_resent'),
    audio_buffer_ms: mean('audio_waited', 'audio_emitted'), video_buffer_ms: mean('video_waited', 'video_emitted'),
    available_kbps: Math.round(end.available_kbps),
  };
}
