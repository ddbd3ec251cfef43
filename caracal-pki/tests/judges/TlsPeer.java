import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.InputStreamReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.KeyFactory;
import java.security.KeyStore;
import java.security.PrivateKey;
import java.security.cert.Certificate;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.security.spec.PKCS8EncodedKeySpec;
import java.util.Base64;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManagerFactory;

/**
 * The JVM's end of TLS connections with mutual authentication, driven line by line over stdin, so that no
 * password is ever an argument. Every command is answered by exactly one line.
 *
 * <pre>
 * password TEXT               password of the stores that follow
 * pkcs12 KEYSTORE TRUSTSTORE  load both from PKCS#12
 * pem KEYSTORE TRUSTSTORE     load both from PEM, in the way of Kafka's PEM stores
 * accept PROTOCOL             "listening PORT"; the answer to the next "wait" is the outcome
 * wait                        "peer SUBJECT" or "failed REASON"
 * connect PORT PROTOCOL       "peer SUBJECT" or "failed REASON"
 * subject FILE                the subject of a certificate, as X500Principal prints it
 * </pre>
 */
public class TlsPeer {
    private char[] password = new char[0];
    private SSLContext context;
    private SSLServerSocket server;

    public static void main(String[] arguments) throws Exception {
        TlsPeer peer = new TlsPeer();
        BufferedReader commands = new BufferedReader(new InputStreamReader(System.in, "UTF-8"));
        java.io.PrintStream out = new java.io.PrintStream(System.out, true, "UTF-8");
        for (String line = commands.readLine(); line != null; line = commands.readLine()) {
            String[] words = line.split(" ", 2);
            String answer;
            try {
                answer = peer.answer(words[0], words.length > 1 ? words[1] : "");
            } catch (Exception error) {
                answer = "failed " + error;
            }
            out.println(answer.replace('\n', ' '));
        }
    }

    private String answer(String command, String rest) throws Exception {
        String[] words = rest.split(" ");
        switch (command) {
            case "password":
                password = rest.toCharArray();
                return "ok";
            case "pkcs12":
                load(pkcs12(words[0]), pkcs12(words[1]));
                return "ok";
            case "pem":
                load(pemKeyStore(words[0]), pemTrustStore(words[1]));
                return "ok";
            case "accept":
                server = (SSLServerSocket) context.getServerSocketFactory().createServerSocket(0);
                server.setNeedClientAuth(true);
                server.setEnabledProtocols(words);
                server.setSoTimeout(20_000);
                return "listening " + server.getLocalPort();
            case "wait":
                try (SSLServerSocket listening = server) {
                    return exchange((SSLSocket) listening.accept());
                }
            case "connect":
                SSLSocket socket = (SSLSocket) context.getSocketFactory().createSocket("localhost", Integer.parseInt(words[0]));
                socket.setEnabledProtocols(new String[] {words[1]});
                SSLParameters parameters = socket.getSSLParameters();
                parameters.setEndpointIdentificationAlgorithm("HTTPS");
                socket.setSSLParameters(parameters);
                return exchange(socket);
            case "subject":
                try (java.io.InputStream file = Files.newInputStream(Path.of(rest))) {
                    X509Certificate certificate =
                        (X509Certificate) CertificateFactory.getInstance("X.509").generateCertificate(file);
                    return certificate.getSubjectX500Principal().getName();
                }
            default:
                throw new IllegalArgumentException("unknown command " + command);
        }
    }

    /** One octet each way: with TLS 1.3 a client learns only by reading that its certificate was refused. */
    private static String exchange(SSLSocket socket) throws Exception {
        try (socket) {
            socket.setSoTimeout(20_000);
            socket.startHandshake();
            socket.getOutputStream().write('j');
            int octet = socket.getInputStream().read();
            if (octet != 'r') {
                return "failed the other side answered " + octet;
            }
            return "peer " + socket.getSession().getPeerPrincipal().getName();
        }
    }

    private void load(KeyStore keys, KeyStore trusted) throws Exception {
        KeyManagerFactory keyManagers = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keyManagers.init(keys, password);
        TrustManagerFactory trustManagers = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trustManagers.init(trusted);
        context = SSLContext.getInstance("TLS");
        context.init(keyManagers.getKeyManagers(), trustManagers.getTrustManagers(), null);
    }

    private KeyStore pkcs12(String file) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (java.io.InputStream stream = Files.newInputStream(Path.of(file))) {
            store.load(stream, password);
        }
        return store;
    }

    private KeyStore pemKeyStore(String file) throws Exception {
        String text = Files.readString(Path.of(file));
        Matcher section = Pattern.compile("-+BEGIN PRIVATE KEY-+\\s+([A-Za-z0-9+/=\\s]+)-+END").matcher(text);
        if (!section.find()) {
            throw new IllegalArgumentException("no private key");
        }
        byte[] der = Base64.getDecoder().decode(section.group(1).replaceAll("\\s", ""));
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        store.setKeyEntry("key", privateKey(der), password, certificates(text));
        return store;
    }

    private KeyStore pemTrustStore(String file) throws Exception {
        KeyStore store = KeyStore.getInstance("PKCS12");
        store.load(null, null);
        int number = 0;
        for (Certificate certificate : certificates(Files.readString(Path.of(file)))) {
            store.setCertificateEntry("ca" + number++, certificate);
        }
        return store;
    }

    private static PrivateKey privateKey(byte[] der) throws Exception {
        try {
            return KeyFactory.getInstance("EC").generatePrivate(new PKCS8EncodedKeySpec(der));
        } catch (java.security.spec.InvalidKeySpecException notEc) {
            return KeyFactory.getInstance("RSA").generatePrivate(new PKCS8EncodedKeySpec(der));
        }
    }

    private static Certificate[] certificates(String text) throws Exception {
        Matcher section = Pattern.compile("-+BEGIN CERTIFICATE-+[^-]+-+END CERTIFICATE-+").matcher(text);
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        java.util.List<Certificate> found = new java.util.ArrayList<>();
        while (section.find()) {
            found.add(factory.generateCertificate(new ByteArrayInputStream(section.group().getBytes("US-ASCII"))));
        }
        return found.toArray(new Certificate[0]);
    }
}
