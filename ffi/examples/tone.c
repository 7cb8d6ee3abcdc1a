/*
 * Joins a room, sends a soft tone for ten seconds, and prints what happens.
 *
 *     cargo build --release -p undertone-ffi
 *     cc -std=c11 -Iffi/include ffi/examples/tone.c -Ltarget/release -lundertone -lm -o tone
 *     LD_LIBRARY_PATH=target/release ./tone http://127.0.0.1:7880/room      (macOS: DYLD_LIBRARY_PATH)
 *
 * In an app, the sound device's callback takes the place of the loop: it pushes what the microphone gave
 * and pulls what the speaker plays.
 */
#define _POSIX_C_SOURCE 200809L
#include "undertone.h"
#include <math.h>
#include <stdio.h>
#include <time.h>

enum { RATE = 16000, STEP = RATE / 100 };

static void print(const ut_event *event) {
    switch (event->kind) {
    case UT_EVENT_JOINED:
        printf("joined as number %u\n", event->participant);
        break;
    case UT_EVENT_ROSTER:
        printf("in the room:");
        for (size_t i = 0; i < event->participant_count; i++)
            printf(" %s%s", event->participants[i].name, event->participants[i].muted ? " (muted)" : "");
        printf("\n");
        break;
    case UT_EVENT_CONNECTED:
        printf("connected after %u ms\n", event->setup_ms);
        break;
    case UT_EVENT_SLOT:
        printf("slot %u carries number %u\n", event->slot, event->participant);
        break;
    case UT_EVENT_SENDING:
        printf("%s is sent (%s)\n", event->sound == UT_MUSIC ? "music" : "a voice", event->text);
        break;
    case UT_EVENT_ENDED:
        printf("ended\n");
        break;
    case UT_EVENT_FAILED:
        printf("failed: %s\n", event->text);
        break;
    }
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s ROOM_URL\n", argv[0]);
        return 2;
    }
    ut_options options = { .size = sizeof options, .room_url = argv[1], .name = "tone", .send = UT_AUDIO };
    ut_call *call;
    ut_result result = ut_call_new(&options, &call);
    if (result == UT_OK)
        result = ut_call_join(call);
    if (result != UT_OK) {
        fprintf(stderr, "%s: %s\n", argv[1], ut_result_text(result));
        return 1;
    }

    int over = 0;
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    for (int step = 0; step < 1000 && !over; step++) {
        int16_t microphone[STEP], speaker[STEP];
        for (int i = 0; i < STEP; i++)
            microphone[i] = (int16_t)(6000 * sin(2 * 3.14159265358979 * 440 * (step * STEP + i) / RATE));
        ut_call_push(call, microphone, STEP);
        ut_call_pull(call, STEP, speaker);

        const ut_event *event;
        while (ut_call_poll(call, &event) == UT_OK) {
            print(event);
            over |= event->kind == UT_EVENT_ENDED || event->kind == UT_EVENT_FAILED;
        }

        /* A sound device would wait for us; a loop must wait by itself, against a clock that does not drift. */
        due.tv_nsec += 10 * 1000 * 1000;
        if (due.tv_nsec >= 1000 * 1000 * 1000) {
            due.tv_nsec -= 1000 * 1000 * 1000;
            due.tv_sec++;
        }
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        long left = (due.tv_sec - now.tv_sec) * 1000000000L + (due.tv_nsec - now.tv_nsec);
        if (left > 0)
            nanosleep(&(struct timespec){ .tv_nsec = left }, NULL);
    }

    ut_stats stats = { .size = sizeof stats };
    if (ut_call_stats(call, &stats) == UT_OK)
        printf("sent %llu bytes, received %llu, round trip %u ms\n", (unsigned long long)stats.wire_sent_bytes,
               (unsigned long long)stats.wire_received_bytes, stats.rtt_ms);
    ut_call_free(call);
    return 0;
}
