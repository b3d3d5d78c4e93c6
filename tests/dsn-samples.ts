/** Delivery status notifications in the shapes of the MTAs that write most of them. */
export type Returned = { to: string; messageId: string };

/** Postfix: `message/delivery-status`, the whole mail returned, the type named before each address. */
export const postfixDsn = (
  { to, messageId }: Returned,
  { action = 'failed', status = '5.1.1', said = `550 5.1.1 <${to}>: Recipient address rejected: User unknown` } = {},
) => `Return-Path: <>
Received: by mx.herald.example (Postfix)
\tid 4D2F01A0B2; Mon, 23 Nov 2026 21:07:03 +0000 (UTC)
Date: Mon, 23 Nov 2026 21:07:03 +0000 (UTC)
From: MAILER-DAEMON@mx.herald.example (Mail Delivery System)
Subject: Undelivered Mail Returned to Sender
To: bounces@herald.example
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="9C1E01A0AF.1795468023/mx.herald.example"
Content-Transfer-Encoding: 8bit
Message-Id: <20261123210703.4D2F01A0B2@mx.herald.example>

This is a MIME-encapsulated message.

--9C1E01A0AF.1795468023/mx.herald.example
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

This is the mail system at host mx.herald.example.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

<${to}>: host mx.example.com[203.0.113.9] said: ${said}
    (in reply to RCPT TO command)

--9C1E01A0AF.1795468023/mx.herald.example
Content-Description: Delivery report
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.herald.example
X-Postfix-Queue-ID: 9C1E01A0AF
X-Postfix-Sender: rfc822; bounces@herald.example
Arrival-Date: Mon, 23 Nov 2026 21:07:01 +0000 (UTC)

Final-Recipient: rfc822; ${to}
Original-Recipient: rfc822;${to}
Action: ${action}
Status: ${status}
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; ${said}

--9C1E01A0AF.1795468023/mx.herald.example
Content-Description: Undelivered Message
Content-Type: message/rfc822
Content-Transfer-Encoding: 8bit

Return-Path: <bounces@herald.example>
From: Herald <no-reply@herald.example>
To: Ada Lovelace <${to}>
Subject: Hello
Message-ID: <${messageId}>
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8

Final-Recipient: rfc822; somebody.else@example.com
Action: failed

--9C1E01A0AF.1795468023/mx.herald.example--
`;

/** Exim: names the recipients in a header too, says 5.0.0 of everything, returns only the headers. */
export const eximDsn = (
  { to, messageId }: Returned,
  said = '550 5.1.1 The email account that you tried to reach does not exist',
) => `Received: from Debian-exim by mx.herald.example with local (Exim 4.96)
\tid 1wCbYf-0003Xq-2T
\tfor bounces@herald.example;
\tMon, 23 Nov 2026 21:07:05 +0000
X-Failed-Recipients: ${to}
Auto-Submitted: auto-replied
From: Mail Delivery System <Mailer-Daemon@mx.herald.example>
To: bounces@herald.example
References: <${messageId}>
Content-Type: multipart/report; report-type=delivery-status; boundary=1795468025-eximdsn-1804289383
MIME-Version: 1.0
Subject: Mail delivery failed: returning message to sender
Message-Id: <E1wCbYf-0003Xq-2T@mx.herald.example>
Date: Mon, 23 Nov 2026 21:07:05 +0000

--1795468025-eximdsn-1804289383
Content-type: text/plain; charset=us-ascii

This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error.

--1795468025-eximdsn-1804289383
Content-type: message/delivery-status

Reporting-MTA: dns; mx.herald.example

Action: failed
Final-Recipient: rfc822;${to}
Status: 5.0.0
Remote-MTA: dns; mx.example.com
Diagnostic-Code: smtp; ${said}

--1795468025-eximdsn-1804289383
Content-type: text/rfc822-headers

Received: from [127.0.0.1] (helo=worker)
\tby mx.herald.example with esmtp (Exim 4.96)
From: Herald <no-reply@herald.example>
To: Ada Lovelace <${to}>
Subject: Hello
Message-ID: <${messageId}>

--1795468025-eximdsn-1804289383--
`;

/** Gmail: an HTML explanation within the first part, folded diagnostics, CRLF, the report before the mail. */
export const gmailDsn = ({ to, messageId }: Returned) =>
  `Delivered-To: bounces@herald.example
Return-Path: <>
From: Mail Delivery Subsystem <mailer-daemon@googlemail.com>
To: bounces@herald.example
Auto-Submitted: auto-replied
Subject: Delivery Status Notification (Failure)
References: <${messageId}>
In-Reply-To: <${messageId}>
X-Failed-Recipients: ${to}
Message-ID: <6564d2a1.170a0220.b9a3b.52f0.GMR@mx.google.com>
Date: Mon, 23 Nov 2026 13:07:13 -0800 (PST)
Content-Type: multipart/report; boundary="000000000000a1b2c3060ad1e2f3"; report-type=delivery-status

--000000000000a1b2c3060ad1e2f3
Content-Type: multipart/related; boundary="000000000000a1b2c8060ad1e2f4"

--000000000000a1b2c8060ad1e2f4
Content-Type: multipart/alternative; boundary="000000000000a1b2ca060ad1e2f5"

--000000000000a1b2ca060ad1e2f5
Content-Type: text/plain; charset="UTF-8"

** Address not found **

Your message wasn't delivered to ${to} because the address couldn't be found.

--000000000000a1b2ca060ad1e2f5
Content-Type: text/html; charset="UTF-8"

<html><body><p>Your message wasn't delivered.</p></body></html>

--000000000000a1b2ca060ad1e2f5--
--000000000000a1b2c8060ad1e2f4
Content-Type: image/png; name="icon.png"
Content-Disposition: attachment; filename="icon.png"
Content-Transfer-Encoding: base64
Content-ID: <icon.png>

iVBORw0KGgo=
--000000000000a1b2c8060ad1e2f4--
--000000000000a1b2c3060ad1e2f3
Content-Type: message/delivery-status

Reporting-MTA: dns; googlemail.com
Arrival-Date: Mon, 23 Nov 2026 13:07:12 -0800 (PST)
X-Original-Message-ID: <${messageId}>

Final-Recipient: rfc822; ${to}
Action: failed
Status: 5.1.1
Remote-MTA: dns; gmail-smtp-in.l.google.com. (2607:f8b0:400e:c00::1a, the
 server for the domain gmail.com.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos or
 550 5.1.1 unnecessary spaces.
Last-Attempt-Date: Mon, 23 Nov 2026 13:07:13 -0800 (PST)

--000000000000a1b2c3060ad1e2f3
Content-Type: message/rfc822

From: Herald <no-reply@herald.example>
To: ${to}
Message-ID: <${messageId}>
Subject: Hello
MIME-Version: 1.0
Content-Type: text/plain; charset="UTF-8"

Hello

--000000000000a1b2c3060ad1e2f3--
`.replaceAll('\n', '\r\n');
