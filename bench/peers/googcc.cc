// WebRTC's GoogCC on a simulated clock: a peer of `undertone lab congestion`.
//
// A line on stdin for each event, times in microseconds, rates in bit/s:
//
//     start NOW MIN MAX START
//     sent NOW SEQ SIZE PROBE                              SIZE with all headers; PROBE 1: part of the probe asked for
//     feedback NOW N SEQ:SENT:ARRIVED:SIZE ...             in order of sending; ARRIVED -1: lost
//     tick NOW                                             every 25 ms, which is GoogCC's own interval
//     pause NOW, resume NOW                                the application stops sending and goes on
//
// A line on stdout for each of them: TARGET PACING PROBE_RATE PROBE_BYTES, the last two 0 without a probe. A probe is
// repeated until its bytes have gone, in five packets at least. GoogCC comes out of Debian's libtgowt-dev as WebRTC
// has it without field trials, and probes a source that sends less than it may. It is told of losses once a second, as
// by RTCP receiver reports; with --no-loss-reports never, which is as little as a path that loses by itself can hurt it.
#include <algorithm>
#include <cstdio>
#include <deque>
#include <iostream>
#include <map>
#include <memory>
#include <sstream>
#include <string>

#include "api/rtc_event_log/rtc_event_log.h"
#include "api/transport/field_trial_based_config.h"
#include "api/transport/goog_cc_factory.h"
#include "rtc_base/logging.h"

using webrtc::DataRate;
using webrtc::DataSize;
using webrtc::TimeDelta;
using webrtc::Timestamp;

constexpr double kPacingFactor = 2.5;
constexpr TimeDelta kReceiverReports = TimeDelta::Seconds(1);  // As often as WebRTC's video sends RTCP.

// GoogCC takes time zero for "never".
Timestamp At(int64_t micros) { return Timestamp::Seconds(10) + TimeDelta::Micros(micros); }

struct Probe {
  webrtc::ProbeClusterConfig asked;
  DataSize sent = DataSize::Zero();
  int packets = 0;

  DataSize size() const { return asked.target_data_rate * asked.target_duration; }
  bool complete() const { return sent >= size() && packets >= asked.target_probe_count; }
};

class Flow {
 public:
  explicit Flow(bool tell_losses) : tell_losses_(tell_losses) {}

  void Start(Timestamp now, DataRate min, DataRate max, DataRate start) {
    max_ = max;
    target_ = start;
    webrtc::NetworkControllerConfig config;
    config.constraints.at_time = now;
    config.constraints.min_data_rate = min;
    config.constraints.max_data_rate = max;
    config.constraints.starting_rate = start;
    config.stream_based_config.requests_alr_probing = true;
    config.stream_based_config.pacing_factor = kPacingFactor;
    config.stream_based_config.max_total_allocated_bitrate = max;
    config.key_value_config = &trials_;
    config.event_log = &log_;
    gcc_ = webrtc::GoogCcNetworkControllerFactory(webrtc::GoogCcFactoryConfig()).Create(config);
    webrtc::NetworkAvailability network;
    network.at_time = now;
    network.network_available = true;
    Take(gcc_->OnNetworkAvailability(network));
    Tick(now);
  }

  void Tick(Timestamp now) {
    webrtc::ProcessInterval interval;
    interval.at_time = now;
    interval.pacer_queue = DataSize::Zero();
    Take(gcc_->OnProcessInterval(interval));
  }

  void Sent(Timestamp now, int64_t seq, DataSize size, bool probe) {
    webrtc::SentPacket packet;
    packet.send_time = now;
    packet.sequence_number = seq;
    packet.size = size;
    in_flight_size_ += size;
    packet.data_in_flight = in_flight_size_;
    if (probe && !probes_.empty()) {
      Probe& current = probes_.front();
      packet.pacing_info = {current.asked.id, current.asked.target_probe_count, int(current.size().bytes())};
      current.sent += size;
      ++current.packets;
      if (current.complete()) probes_.pop_front();
    }
    in_flight_[seq] = packet;
    Take(gcc_->OnSentPacket(packet));
  }

  void Feedback(Timestamp now, std::istream& items) {
    webrtc::TransportPacketsFeedback feedback;
    feedback.feedback_time = now;
    feedback.prior_in_flight = in_flight_size_;
    int64_t seq, sent, arrived, size;
    for (char colon; items >> seq >> colon >> sent >> colon >> arrived >> colon >> size;) {
      const auto packet = in_flight_.find(seq);
      if (packet == in_flight_.end()) continue;
      webrtc::PacketResult result;
      result.sent_packet = packet->second;
      if (arrived >= 0) result.receive_time = At(arrived);
      feedback.packet_feedbacks.push_back(result);
      Forget(packet);
    }
    if (feedback.packet_feedbacks.empty()) return;
    // What was sent before them and is still in flight was in a report that never came.
    const int64_t last = feedback.packet_feedbacks.back().sent_packet.sequence_number;
    while (!in_flight_.empty() && in_flight_.begin()->first < last) Forget(in_flight_.begin());
    feedback.data_in_flight = in_flight_size_;
    Take(gcc_->OnTransportPacketsFeedback(feedback));
    ReceiverReport(feedback);
  }

  // A camera that is off gets no share of the rate.
  void Pause(Timestamp now, bool pause) {
    paused_ = pause;
    probes_.clear();
    webrtc::StreamsConfig streams;
    streams.at_time = now;
    streams.max_total_allocated_bitrate = pause ? DataRate::Zero() : max_;
    Take(gcc_->OnStreamsConfig(streams));
  }

  void Answer() const {
    const Probe probe = probes_.empty() ? Probe() : probes_.front();
    std::cout << target_.bps() << ' ' << pacing_.bps() << ' ' << probe.asked.target_data_rate.bps() << ' '
              << probe.size().bytes() << std::endl;
  }

 private:
  using InFlight = std::map<int64_t, webrtc::SentPacket>;

  void Forget(InFlight::iterator packet) {
    in_flight_size_ -= packet->second.size;
    in_flight_.erase(packet);
  }

  // How much is lost and the round trip GoogCC wants to hear from RTCP, not from the feedback.
  void ReceiverReport(const webrtc::TransportPacketsFeedback& feedback) {
    const Timestamp now = feedback.feedback_time;
    Timestamp newest = Timestamp::MinusInfinity();
    TimeDelta trip = TimeDelta::PlusInfinity();
    for (const auto& packet : feedback.packet_feedbacks) {
      ++(packet.IsReceived() ? losses_.packets_received_delta : losses_.packets_lost_delta);
      if (!packet.IsReceived()) continue;
      newest = std::max(newest, packet.receive_time);
      trip = std::min(trip, packet.receive_time - packet.sent_packet.send_time);
    }
    if (trip.IsInfinite() || now < next_report_) return;
    next_report_ = now + kReceiverReports;
    losses_.start_time = losses_.end_time;
    losses_.receive_time = losses_.end_time = now;
    if (tell_losses_) Take(gcc_->OnTransportLossReport(losses_));
    losses_.packets_lost_delta = losses_.packets_received_delta = 0;
    webrtc::RoundTripTimeUpdate round_trip;
    round_trip.receive_time = now;
    round_trip.round_trip_time = trip + (now - newest);
    Take(gcc_->OnRoundTripTimeUpdate(round_trip));
  }

  void Take(const webrtc::NetworkControlUpdate& update) {
    if (update.target_rate) target_ = update.target_rate->target_rate;
    if (update.pacer_config) pacing_ = update.pacer_config->data_rate();
    if (paused_) return;
    for (const auto& asked : update.probe_cluster_configs) probes_.push_back({asked});
  }

  webrtc::FieldTrialBasedConfig trials_;
  webrtc::RtcEventLogNull log_;
  std::unique_ptr<webrtc::NetworkControllerInterface> gcc_;
  DataRate max_ = DataRate::Zero(), target_ = DataRate::Zero(), pacing_ = DataRate::Zero();
  std::deque<Probe> probes_;
  bool paused_ = false;
  const bool tell_losses_;
  InFlight in_flight_;
  DataSize in_flight_size_ = DataSize::Zero();
  webrtc::TransportLossReport losses_;
  Timestamp next_report_ = Timestamp::MinusInfinity();
};

// False for a line that is none of the protocol's.
bool Handle(Flow& flow, const std::string& line) {
  std::istringstream words(line);
  std::string event;
  int64_t micros;
  if (!(words >> event >> micros)) return false;
  const Timestamp now = At(micros);
  if (event == "start") {
    int64_t min, max, start;
    words >> min >> max >> start;
    flow.Start(now, DataRate::BitsPerSec(min), DataRate::BitsPerSec(max), DataRate::BitsPerSec(start));
  } else if (event == "sent") {
    int64_t seq, size;
    bool probe;
    words >> seq >> size >> probe;
    flow.Sent(now, seq, DataSize::Bytes(size), probe);
  } else if (event == "feedback") {
    int count;
    words >> count;
    flow.Feedback(now, words);
  } else if (event == "tick") {
    flow.Tick(now);
  } else if (event == "pause" || event == "resume") {
    flow.Pause(now, event == "pause");
  } else {
    return false;
  }
  return true;
}

int main(int argc, char** argv) {
  rtc::LogMessage::LogToDebug(rtc::LS_NONE);
  std::ios::sync_with_stdio(false);
  Flow flow(argc < 2 || std::string(argv[1]) != "--no-loss-reports");
  for (std::string line; getline(std::cin, line);) {
    if (!Handle(flow, line)) return fprintf(stderr, "googcc: what is \"%s\"?\n", line.c_str()), 2;
    flow.Answer();
  }
}
