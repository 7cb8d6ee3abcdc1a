// WebRTC's NetEq on recorded arrivals, on a simulated clock: the peer of `undertone lab jitter`, with its JSON.
//
//     target/peers/neteq ARRIVALS.csv SPEECH.wav PLAYED.wav
//
// ARRIVALS.csv is seq,send_ms,arrival_ms (-1 lost); SPEECH.wav is 16 kHz mono, repeated when too short. Speech goes in
// as L16, so that nothing but the jitter buffer shows. NetEq comes out of Debian's libtgowt-dev with the settings that
// WebRTC gives it (a buffer of 200 packets); the player takes 10 ms at a time from the first arrival on.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>
#include <numeric>
#include <string>
#include <vector>

#include "api/audio/audio_frame.h"
#include "api/audio_codecs/L16/audio_decoder_L16.h"
#include "api/audio_codecs/audio_decoder_factory_template.h"
#include "api/neteq/neteq.h"
#include "api/rtp_headers.h"
#include "modules/audio_coding/neteq/default_neteq_factory.h"
#include "rtc_base/logging.h"
#include "system_wrappers/include/clock.h"

using Samples = std::vector<int16_t>;

constexpr int kRate = 16000;
constexpr int kPayloadType = 97;
constexpr double kTickMs = 10;
constexpr int kWindowTicks = 1000;  // The E-model judges 10 s at a time.

struct Packet {
  long seq;
  double sent_ms, arrived_ms;
};

std::vector<Packet> ReadArrivals(const char* path) {
  std::vector<Packet> packets;
  std::ifstream file(path);
  for (std::string line; getline(file, line);) {
    Packet packet;
    if (sscanf(line.c_str(), "%ld,%lf,%lf", &packet.seq, &packet.sent_ms, &packet.arrived_ms) == 3)
      packets.push_back(packet);
  }
  return packets;
}

// A WAV file's samples: what follows the header of the chunk "data".
Samples ReadWav(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::string bytes((std::istreambuf_iterator<char>(file)), {});
  const size_t data = bytes.find("data");
  if (data == std::string::npos || data + 8 > bytes.size()) return {};
  Samples samples((bytes.size() - data - 8) / 2);
  memcpy(samples.data(), bytes.data() + data + 8, samples.size() * 2);
  return samples;
}

void WriteWav(const char* path, const Samples& samples) {
  std::ofstream file(path, std::ios::binary);
  auto number = [&](uint32_t value, int size) { file.write(reinterpret_cast<char*>(&value), size); };
  const uint32_t size = samples.size() * 2;
  file << "RIFF", number(36 + size, 4), file << "WAVEfmt ";
  number(16, 4), number(1, 2), number(1, 2), number(kRate, 4), number(2 * kRate, 4), number(2, 2), number(16, 2);
  file << "data", number(size, 4), file.write(reinterpret_cast<const char*>(samples.data()), size);
}

double Mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / values.size();
}

double Quantile(std::vector<double> values, double share) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[std::min(values.size() - 1, static_cast<size_t>(share * values.size()))];
}

// ITU-T G.107 with Ie 5 and Bpl 15, random loss, as `lab jitter` has it.
double EModel(double delay_ms, double lost_percent) {
  const double delay = 0.024 * delay_ms + 0.11 * std::max(0.0, delay_ms - 177.3);
  const double equipment = 5 + 90 * lost_percent / (lost_percent + 15);
  const double r = std::clamp(93.2 - delay - equipment, 0.0, 100.0);
  return 1 + 0.035 * r + r * (r - 60) * (100 - r) * 7e-6;
}

int main(int argc, char** argv) {
  if (argc != 4) return fprintf(stderr, "usage: neteq ARRIVALS.csv SPEECH.wav PLAYED.wav\n"), 2;
  rtc::LogMessage::LogToDebug(rtc::LS_ERROR);
  const std::vector<Packet> sent = ReadArrivals(argv[1]);
  const Samples speech = ReadWav(argv[2]);
  std::vector<Packet> arrivals;
  std::copy_if(sent.begin(), sent.end(), std::back_inserter(arrivals), [](auto& p) { return p.arrived_ms >= 0; });
  std::stable_sort(arrivals.begin(), arrivals.end(), [](auto& a, auto& b) { return a.arrived_ms < b.arrived_ms; });
  if (arrivals.empty() || speech.empty() || sent.back().seq == sent.front().seq)
    return fprintf(stderr, "neteq: no arrivals or no speech\n"), 2;
  const double packet_ms = (sent.back().sent_ms - sent.front().sent_ms) / (sent.back().seq - sent.front().seq);
  const long packet_samples = std::max(1L, lround(packet_ms / kTickMs)) * kRate / 100;

  webrtc::SimulatedClock clock(0);
  auto advance_to = [&](double ms) {
    const int64_t micros = static_cast<int64_t>(ms * 1000) - clock.TimeInMicroseconds();
    if (micros > 0) clock.AdvanceTimeMicroseconds(micros);
  };
  webrtc::NetEq::Config config;
  config.sample_rate_hz = kRate;
  config.max_packets_in_buffer = 200;
  const auto decoders = webrtc::CreateAudioDecoderFactory<webrtc::AudioDecoderL16>();
  const auto neteq = webrtc::DefaultNetEqFactory().CreateNetEq(config, decoders, &clock);
  neteq->RegisterPayloadType(kPayloadType, webrtc::SdpAudioFormat("L16", kRate, 1));

  Samples played;
  std::vector<double> delays, window_delays, scores;
  uint64_t window_concealed = 0, window_samples = 0;
  const double start_ms = arrivals[0].arrived_ms, end_ms = sent.back().sent_ms;
  auto next = arrivals.begin();
  double now_ms = start_ms;
  for (long tick = 0; now_ms < end_ms + 1000; now_ms = start_ms + kTickMs * ++tick) {
    for (; next != arrivals.end() && next->arrived_ms <= now_ms; ++next) {
      advance_to(next->arrived_ms);
      webrtc::RTPHeader header;
      header.payloadType = kPayloadType;
      header.sequenceNumber = next->seq;
      header.timestamp = next->seq * packet_samples;
      header.ssrc = 1;
      std::vector<uint8_t> payload;
      for (long i = next->seq * packet_samples; i < (next->seq + 1) * packet_samples; ++i) {
        const int16_t sample = speech[i % speech.size()];
        payload.push_back(sample >> 8);
        payload.push_back(sample & 255);
      }
      neteq->InsertPacket(header, payload);
    }
    advance_to(now_ms);
    webrtc::AudioFrame frame;
    bool muted;
    neteq->GetAudio(&frame, &muted);
    played.insert(played.end(), frame.data(), frame.data() + frame.samples_per_channel_);

    // From when the frame's last sample was spoken until it has been played.
    if (const auto timestamp = neteq->GetPlayoutTimestamp()) {
      const double since_first = (static_cast<double>(*timestamp) - sent[0].seq * packet_samples) * 1000 / kRate;
      window_delays.push_back(now_ms + kTickMs - (sent[0].sent_ms + since_first));
      if (now_ms < end_ms) delays.push_back(window_delays.back());
    }
    if (tick % kWindowTicks == kWindowTicks - 1 && now_ms < end_ms) {
      const auto life = neteq->GetLifetimeStatistics();
      const double concealed = life.concealed_samples - window_concealed;
      const double samples = std::max<double>(1, life.total_samples_received - window_samples);
      scores.push_back(EModel(Mean(window_delays), 100 * concealed / samples));
      window_concealed = life.concealed_samples;
      window_samples = life.total_samples_received;
      window_delays.clear();
    }
  }
  WriteWav(argv[3], played);

  const auto life = neteq->GetLifetimeStatistics();
  auto ratio = [&](double samples) { return samples / life.total_samples_received; };
  printf("{\"m2e_mean_ms\":%.1f,\"m2e_p50\":%.1f,\"m2e_p95\":%.1f,\"m2e_p99\":%.1f,", Mean(delays), Quantile(delays, .5),
         Quantile(delays, .95), Quantile(delays, .99));
  printf("\"conceal_ratio\":%.5f,\"accel_ratio\":%.5f,\"preempt_ratio\":%.5f,", ratio(life.concealed_samples),
         ratio(life.removed_samples_for_acceleration), ratio(life.inserted_samples_for_deceleration));
  printf("\"emos_mean\":%.3f,\"emos_p10\":%.3f}\n", Mean(scores), Quantile(scores, .1));
}
